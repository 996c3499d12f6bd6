//! Codes of the kernel's packet filters (`linux/bpf_common.h`), for programs on sockets.
//!
//! Absent on purpose: the programs, which belong to those who know what they let through.

/// Loads an octet at an absolute offset.
pub const LOAD_BYTE: u16 = 0x30;
/// Loads two octets, big-endian, at an absolute offset.
pub const LOAD_HALF: u16 = 0x28;
/// Loads an octet behind the length that [`LOAD_HEADER_LEN`] has read.
pub const LOAD_BYTE_AFTER: u16 = 0x50;
/// Reads the length of an IPv4 header at an absolute offset.
pub const LOAD_HEADER_LEN: u16 = 0xb1;
/// Keeps these bits of what was loaded.
pub const AND: u16 = 0x54;
/// Skips so many instructions.
pub const JUMP: u16 = 0x05;
/// Skips by whether what was loaded equals the operand.
pub const JUMP_IF_EQUAL: u16 = 0x15;
/// Skips by whether what was loaded is greater than the operand.
pub const JUMP_IF_GREATER: u16 = 0x25;
/// Ends: so many octets of the packet are let through.
pub const RETURN: u16 = 0x06;
