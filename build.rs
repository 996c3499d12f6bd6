//! Embeds the web app: the files of `ui/dist`, compressed, as a table for `src/web/assets.rs`.
//!
//! Without the app the table is empty, and the program says so in its own page.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Nothing is compressed that does not become smaller by a tenth.
const WORTH: usize = 10;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=ui/dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let root = env::current_dir()?.join("ui/dist");
    let mut files = Vec::new();
    if root.is_dir() {
        walk(&root, &mut files)?;
    }
    files.sort();
    // Without its first page it is no app.
    if !files.contains(&root.join("index.html")) {
        files.clear();
    }
    let mut table = String::from("[\n");
    for (number, path) in files.iter().enumerate() {
        let name = path.strip_prefix(&root).map_err(io::Error::other)?;
        let name =
            name.to_str().ok_or_else(|| io::Error::other("a name of ui/dist is not UTF-8"))?;
        let bytes = fs::read(path)?;
        let hash = blake3::hash(&bytes).to_hex();
        let hash = hash.get(..16).unwrap_or_default();
        let brotli = packed(&out, number, "br", &bytes, brotli_of(&bytes)?)?;
        let gzip = packed(&out, number, "gz", &bytes, gzip_of(&bytes)?)?;
        writeln!(
            table,
            "Asset {{ name: {name:?}, etag: \"W/\\\"{hash}\\\"\", plain: include_bytes!({path:?}), brotli: {brotli}, gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join("assets.rs"), table)
}

/// All files below `dir` but the hidden ones.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The expression of a compressed file, if it is worth it.
fn packed(
    out: &Path,
    number: usize,
    kind: &str,
    plain: &[u8],
    bytes: Vec<u8>,
) -> io::Result<String> {
    if bytes.len() + plain.len() / WORTH >= plain.len() {
        return Ok("None".to_owned());
    }
    let path = out.join(format!("asset-{number}.{kind}"));
    fs::write(&path, bytes)?;
    Ok(format!("Some(include_bytes!({path:?}))"))
}

fn brotli_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut packed, 64 * 1024, 11, 22);
    writer.write_all(bytes)?;
    writer.flush()?;
    drop(writer);
    Ok(packed)
}

fn gzip_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Without a date: the same file gives the same bytes.
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}
