use super::*;
use crate::appliance::disk::gpt::{self, Entry, Write};
use crate::appliance::disk::inventory::{FAT, KernelArguments};
use crate::appliance::disk::perform::own_table;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The image's loader partition, on each flashed disk the same.
const ESP: Guid = Guid([0xe5; 16]);
const SECTORS: u64 = 1 << 22; // 2 GiB.

fn named(number: u32, first: u64, last: u64, name: &str) -> Entry {
    let mut units = [0; 36];
    for (unit, c) in units.iter_mut().zip(name.encode_utf16()) {
        *unit = c;
    }
    let id = if name == "esp" { ESP } else { Guid([u8::try_from(number).unwrap(); 16]) };
    let kind = match name {
        FAT => Guid::BASIC,
        "esp" => Guid::ESP,
        _ => Guid::LINUX,
    };
    Entry { number, kind, id, first, last, attributes: 0, name: units }
}

/// A machine that remembers what lasts and forgets the rest when its power is cut.
#[derive(Clone, Debug)]
struct World {
    disks: Vec<Platter>,
    /// Content of partitions, by disk and number.
    contents: BTreeMap<(String, u32), Content>,
    /// Content of the array that was made, if one was.
    array: Option<Content>,
    /// Content inside of what is encrypted.
    inside: Option<Content>,
    key_file: bool,
    tpm: bool,
    running: Running,
    /// Whether it starts from a network: no loader says anything.
    network: bool,
    fresh: u8,
    /// Whether it was ever mounted.
    used: bool,
}

/// What goes with the power.
#[derive(Clone, Debug, Default)]
struct Running {
    opened: bool,
    array: bool,
    mounted: bool,
    done: Vec<Step>,
    failed: Vec<Step>,
    unlocked: Typed,
    /// What the loader said at this start, and what became of it.
    esp: Option<Guid>,
}

#[derive(Clone, Debug)]
struct Platter {
    name: String,
    sectors: u64,
    /// Sectors that are not zero.
    written: BTreeMap<u64, Vec<u8>>,
    content: Content,
}

impl Platter {
    fn geometry(&self) -> Geometry {
        Geometry { sector: 512, sectors: self.sectors }
    }

    fn blank(name: &str) -> Self {
        let content = Content::Blank;
        Self { name: name.to_owned(), sectors: SECTORS, written: BTreeMap::new(), content }
    }

    fn flashed(name: &str) -> Self {
        let mut disk = Self::blank(name);
        let small = Geometry { sector: 512, sectors: 1 << 18 };
        let mut table = own_table(small, || Guid([9; 16])).unwrap();
        table.entries = vec![
            named(1, 2048, 4095, FAT),
            named(2, 4096, 6143, "esp"),
            named(4, 6144, 8191, "slot-a"),
            named(6, 8192, 8192 + 32_767, BOOT_DATA),
        ];
        disk.write(&table.writes(small), usize::MAX);
        disk
    }

    /// Writes sector by sector; `false` when the power went before the end.
    fn write(&mut self, writes: &[Write], mut sectors: usize) -> bool {
        for write in writes {
            for (lba, bytes) in (write.at / 512..).zip(write.bytes.chunks(512)) {
                if sectors == 0 {
                    return false;
                }
                sectors -= 1;
                self.written.insert(lba, bytes.to_vec());
            }
        }
        true
    }

    fn found(&self) -> gpt::Found {
        gpt::read(self.geometry(), |at, len| {
            let zero = vec![0; 512];
            let from = at / 512;
            let all = (from..from + (len as u64).div_ceil(512))
                .flat_map(|lba| self.written.get(&lba).unwrap_or(&zero).clone());
            Ok(all.take(len).collect())
        })
        .unwrap()
    }

    /// GRUB tells what it sees at the start, whatever the checksums say.
    fn loader_sees(&self) -> Option<Guid> {
        self.found().loose.iter().find(|e| e.name() == "esp").map(|e| e.id)
    }
}

impl World {
    fn new(disks: Vec<Platter>) -> Self {
        let flashed = disks.iter().filter(|d| d.loader_sees().is_some());
        let contents = flashed.map(|d| ((d.name.clone(), 6), Content::Blank)).collect();
        let mut world = Self {
            disks,
            contents,
            array: None,
            inside: None,
            key_file: false,
            tpm: false,
            running: Running::default(),
            network: false,
            fresh: 0,
            used: false,
        };
        world.power_cut();
        world
    }

    fn inventory(&self) -> Inventory {
        let disks: Vec<Disk> = self.disks.iter().map(|d| self.disk(d)).collect();
        let mut members: Vec<String> = Vec::new();
        for disk in &disks {
            let of = disk.nodes.iter().filter(|n| matches!(n.content, Content::Member(_)));
            members.extend(of.map(|n| n.name.clone()));
        }
        let esp = self.running.esp;
        let content = self.array.clone().unwrap_or_default();
        let array = Array { name: "md127".to_owned(), members, active: true, content };
        Inventory {
            kernel: KernelArguments { esp, ..KernelArguments::default() },
            disks,
            tpm: self.tpm,
            key_file: self.key_file,
            opened: self.inside.clone().filter(|_| self.running.opened),
            arrays: if self.running.array { vec![array] } else { vec![] },
            mounted: self.running.mounted,
        }
    }

    fn disk(&self, platter: &Platter) -> Disk {
        let table = platter.found();
        let node = |e: &Entry| Node {
            name: format!("{}{}", platter.name, e.number),
            number: e.number,
            first: e.first,
            sectors: e.sectors(),
            content: self
                .contents
                .get(&(platter.name.clone(), e.number))
                .cloned()
                .unwrap_or_default(),
        };
        // A kernel believes the first copy only.
        let nodes = table.primary.iter().flat_map(|t| &t.entries).map(node).collect();
        Disk {
            name: platter.name.clone(),
            aliases: vec![format!("/dev/{}", platter.name)],
            geometry: platter.geometry(),
            read_only: false,
            content: if table.is_none() { platter.content.clone() } else { Content::Unseen },
            table,
            nodes,
        }
    }

    fn rewrite(
        &mut self,
        name: &str,
        cut: usize,
        change: impl Fn(&Table, Geometry) -> Table,
    ) -> bool {
        let disk = self.disks.iter_mut().find(|d| d.name == name).unwrap();
        let table = change(disk.found().table().unwrap(), disk.geometry());
        disk.write(&table.writes(disk.geometry()), cut)
    }

    fn mark(&mut self, place: &Place, set: bool, cut: usize) -> bool {
        self.rewrite(&place.disk, cut, |table, _| {
            let mut table = table.clone();
            let entry = table.entries.iter_mut().find(|e| e.number == place.number).unwrap();
            entry.attributes = if set { UNFINISHED } else { 0 };
            table
        })
    }

    fn content_mut(&mut self, device: &std::path::Path) -> &mut Content {
        let name = device.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "md127" {
            return self.array.as_mut().unwrap();
        }
        let (disk, number) = name.split_at(name.len() - 1);
        self.contents.get_mut(&(disk.to_owned(), number.parse().unwrap())).unwrap()
    }

    /// Does a step up to `cut` of its writes; `false` when the power went.
    fn perform(&mut self, step: &Step, cut: usize) -> bool {
        self.fresh += 1;
        let fresh = Guid::random([self.fresh; 16]);
        match step {
            Step::Repair { disk } => self.rewrite(disk, cut, |t, _| t.clone()),
            Step::Adopt { disk, data, empty } => {
                self.rewrite(disk, cut, |t, g| adopted(t, g, *data, *empty, || fresh).unwrap())
            }
            Step::Begin(place) => self.mark(place, true, cut),
            Step::Finish(places) => places.iter().all(|place| self.mark(place, false, cut)),
            Step::Partition { disk } => {
                let disk = self.disks.iter_mut().find(|d| d.name == *disk).unwrap();
                assert_eq!(disk.content, Content::Blank);
                let table = own_table(disk.geometry(), || fresh).unwrap();
                let whole = disk.write(&table.writes(disk.geometry()), cut);
                self.contents.entry((disk.name.clone(), 1)).or_insert(Content::Blank);
                whole
            }
            Step::MakeKey if cut > 1 => {
                self.key_file = true;
                true
            }
            Step::CreateArray(members) => {
                for member in members.iter().take(cut) {
                    *self.content_mut(member) = Content::Member("u".to_owned());
                }
                self.array = Some(Content::Blank);
                self.running.array = cut > 2;
                cut > 2
            }
            Step::Assemble { .. } => {
                self.running.array = true;
                true
            }
            Step::Format { device, key } => self.format(device, *key, cut),
            Step::Open { key, .. } => {
                assert!(*key != Key::File || self.key_file);
                self.running.opened = true;
                true
            }
            Step::Mount { .. } => {
                (self.running.mounted, self.used) = (true, true);
                true
            }
            Step::MakeKey | Step::Check { .. } | Step::Reread { .. } => cut > 1,
            Step::AddMember { member, .. } => {
                *self.content_mut(member) = Content::Member("u".to_owned());
                true
            }
        }
    }

    fn format(&mut self, device: &std::path::Path, key: Option<Key>, cut: usize) -> bool {
        assert!(!self.used, "data that was used is made anew");
        assert!(key != Some(Key::File) || self.key_file, "a key that nobody has kept");
        let steps: &[Content] = match key {
            None => &[Content::Unknown, Content::Ext4],
            Some(key) => &[Content::Unknown, Content::Luks(key)],
        };
        for content in steps.iter().take(cut) {
            *self.content_mut(device) = content.clone();
        }
        if key.is_some() {
            self.inside = match cut {
                0 => None,
                1 => Some(Content::Unknown),
                _ => Some(Content::Ext4),
            };
            self.running.opened = cut > 2;
        }
        cut > 2
    }

    fn power_cut(&mut self) {
        let esp = self.disks.iter().find_map(Platter::loader_sees).filter(|_| !self.network);
        self.running = Running { esp, ..Running::default() };
    }

    fn next(&self, choice: Option<&DiskChoice>) -> Next {
        let Running { done, failed, unlocked, .. } = &self.running;
        let passphrase = *unlocked;
        next(&self.inventory(), Ask { choice, passphrase, done, failed })
    }

    /// Runs to the end; `cuts` say after how many writes of which step the power goes.
    fn run(&mut self, choice: Option<&DiskChoice>, cuts: &[(usize, usize)]) -> (End, Vec<Trouble>) {
        let mut cuts = cuts.iter();
        let mut cut = cuts.next();
        let mut number = 0;
        for _ in 0..200 {
            let step = match self.next(choice) {
                Next::Do(step) => step,
                Next::End { data: End::New, .. } if self.running.unlocked != Typed::Twice => {
                    // Once is not enough.
                    let once = self.running.unlocked == Typed::Not;
                    self.running.unlocked = if once { Typed::Once } else { Typed::Twice };
                    continue;
                }
                Next::End { data: End::Locked, .. } if self.running.unlocked == Typed::Not => {
                    self.running.unlocked = Typed::Once;
                    continue;
                }
                Next::End { data, troubles } => return (data, troubles),
            };
            let goes = cut.filter(|(at, _)| *at == number).map(|(_, writes)| *writes);
            number += 1;
            let before = self.inventory().disks;
            let whole = self.perform(&step, goes.unwrap_or(usize::MAX));
            let after = self.inventory().disks;
            self.running.esp = self.running.esp.map(|esp| followed(esp, &step, &before, &after));
            if goes.is_some() {
                self.power_cut();
                (cut, number) = (cuts.next(), 0);
            } else {
                assert!(whole);
                self.running.done.push(step);
            }
        }
        panic!("no end: {self:?}");
    }
}

fn choice(encryption: Encryption) -> DiskChoice {
    DiskChoice { encryption, ..DiskChoice::default() }
}

#[test]
fn a_flashed_disk_becomes_this_machines_own_and_stays_so() {
    let mut world = World::new(vec![Platter::flashed("sda"), Platter::blank("sdb")]);
    let wish = choice(Encryption::Auto);
    assert_eq!(world.run(Some(&wish), &[]), (End::Mounted, vec![]));
    let names: Vec<_> = world.running.done.iter().map(Step::name).collect();
    let wanted = ["adopt-disk", "make-key", "format", "finish", "check", "mount"];
    assert_eq!(names, wanted);
    assert_ne!(world.disks[0].loader_sees(), Some(ESP));
    assert!(world.disks[1].written.is_empty());
    world.power_cut();
    assert_eq!(world.run(Some(&wish), &[]), (End::Mounted, vec![]));
    let names: Vec<_> = world.running.done.iter().map(Step::name).collect();
    assert_eq!(names, ["open", "check", "mount"]);
    // Without a site file what was set up is opened all the same; a new one changes nothing.
    for wish in [None, Some(&choice(Encryption::None))] {
        world.power_cut();
        assert_eq!(world.run(wish, &[]), (End::Mounted, vec![]));
    }
}

#[test]
fn two_flashed_disks_are_both_left_alone() {
    let mut world = World::new(vec![Platter::flashed("sda"), Platter::flashed("nvme0n")]);
    let before = world.disks.clone();
    let several = Trouble::SeveralBootDisks(vec!["sda".to_owned(), "nvme0n".to_owned()]);
    for wish in [None, Some(&choice(Encryption::None))] {
        assert_eq!(world.run(wish, &[]), (End::Absent, vec![several.clone()]));
    }
    assert!(world.disks.iter().zip(&before).all(|(a, b)| a.written == b.written));
    // The first one alone is adopted; the second is another one from then on.
    let mut world = World::new(vec![Platter::flashed("sda")]);
    world.run(Some(&choice(Encryption::None)), &[]);
    world.disks.push(Platter::flashed("sdb"));
    world.contents.insert(("sdb".to_owned(), 6), Content::Blank);
    world.power_cut();
    assert_eq!(world.run(Some(&choice(Encryption::None)), &[]).0, End::Mounted);
}

#[test]
fn from_a_network_the_one_flashed_disk_counts() {
    let from_network = |disks| {
        let mut world = World::new(disks);
        world.network = true;
        world.power_cut();
        world
    };
    let wish = choice(Encryption::KeyFile);
    let mut world = from_network(vec![Platter::blank("sda"), Platter::flashed("sdb")]);
    assert_eq!(world.run(Some(&wish), &[]), (End::Mounted, vec![]));
    assert!(world.disks[0].written.is_empty());
    // Its own GUIDs since: from a network as from itself.
    for network in [true, false] {
        world.network = network;
        world.power_cut();
        assert_eq!(world.run(Some(&wish), &[]), (End::Mounted, vec![]));
    }
    // One of each: nobody knows which of both is meant.
    world.disks.push(Platter::flashed("sdc"));
    world.network = true;
    world.power_cut();
    let before = world.disks.clone();
    let several = Trouble::SeveralBootDisks(vec!["sdb".to_owned(), "sdc".to_owned()]);
    assert_eq!(world.run(Some(&wish), &[]), (End::Absent, vec![several]));
    assert!(world.disks.iter().zip(&before).all(|(a, b)| a.written == b.written));
    // None, or one that only looks like it.
    let mut other = Platter::blank("sda");
    let small = Geometry { sector: 512, sectors: SECTORS };
    let mut table = own_table(small, || Guid([9; 16])).unwrap();
    table.entries = vec![named(1, 2048, 4095, FAT), named(2, 4096, 6143, "slot-a")];
    other.write(&table.writes(small), usize::MAX);
    for disks in [vec![Platter::blank("sda")], vec![other]] {
        let mut world = from_network(disks);
        assert_eq!(boot_disk(&world.inventory()), Ok(None));
        let missing = vec![Trouble::BootDiskMissing];
        assert_eq!(world.run(Some(&wish), &[]), (End::Absent, missing));
    }
    // A slot is known and its loader is not: that is no network.
    let world = from_network(vec![Platter::flashed("sda")]);
    let mut inventory = world.inventory();
    assert_eq!(boot_disk(&inventory).unwrap().unwrap().name, "sda");
    inventory.kernel.slot = Some(crate::appliance::report::Slot::A);
    assert_eq!(boot_disk(&inventory), Ok(None));
}

#[test]
fn nothing_is_set_up_without_a_site_file() {
    let mut world = World::new(vec![Platter::flashed("sda")]);
    assert_eq!(world.run(None, &[]), (End::Absent, vec![]));
    assert_eq!(world.contents[&("sda".to_owned(), 6)], Content::Blank);
    assert_eq!(world.run(Some(&choice(Encryption::Passphrase)), &[]).0, End::Mounted);
}

#[test]
fn what_others_left_is_not_touched() {
    for content in [Content::Foreign("ntfs".to_owned()), Content::Unknown, Content::Ext4] {
        let mut world = World::new(vec![Platter::flashed("sda"), Platter::blank("sdb")]);
        world.disks[1].content = content.clone();
        let wish = DiskChoice { device: Some("/dev/sdb".to_owned()), ..choice(Encryption::None) };
        let (end, troubles) = world.run(Some(&wish), &[]);
        assert_eq!(end, End::Absent);
        assert!(matches!(troubles[..], [Trouble::DataForeign { .. }]), "{troubles:?}");
        assert!(world.disks[1].written.is_empty());
        // In the image's own partition, where a flasher left out what was zero.
        let mut world = World::new(vec![Platter::flashed("sda")]);
        world.contents.insert(("sda".to_owned(), 6), content.clone());
        let end = world.run(Some(&choice(Encryption::Auto)), &[]).0;
        assert_eq!(end == End::Mounted, content == Content::Ext4);
        assert_eq!(world.contents[&("sda".to_owned(), 6)], content);
    }
}

#[test]
fn another_disk_or_two_can_be_named() {
    let disks = || vec![Platter::flashed("sda"), Platter::blank("sdb"), Platter::blank("sdc")];
    let names = ["/dev/sdb".to_owned(), "/dev/sdc".to_owned()];
    let one = DiskChoice { device: Some(names[0].clone()), ..choice(Encryption::KeyFile) };
    let mut world = World::new(disks());
    assert_eq!(world.run(Some(&one), &[]), (End::Mounted, vec![]));
    assert!(world.disks[2].written.is_empty());
    let two = DiskChoice { mirror: names.to_vec(), ..choice(Encryption::KeyFile) };
    let mut world = World::new(disks());
    assert_eq!(world.run(Some(&two), &[]), (End::Mounted, vec![]));
    let mirrored = world.clone();
    // One of both is pulled: it goes on, and says so; a fresh one takes its place.
    world.disks.pop();
    world.power_cut();
    let degraded = Trouble::MirrorDegraded("md127".to_owned());
    assert_eq!(world.run(Some(&two), &[]), (End::Mounted, vec![degraded]));
    world.disks.push(Platter::blank("sdc"));
    world.contents.remove(&("sdc".to_owned(), 1));
    world.power_cut();
    assert_eq!(world.run(Some(&two), &[]), (End::Mounted, vec![]));
    // Pulled before it was ever begun: nothing begins.
    let mut world = mirrored;
    world.disks.truncate(2);
    world.power_cut();
    let mut fresh = World::new(vec![Platter::flashed("sda"), Platter::blank("sdb")]);
    let missing = Trouble::DataDiskMissing("/dev/sdc".to_owned());
    assert_eq!(fresh.run(Some(&two), &[]), (End::Absent, vec![missing]));
}

#[test]
fn keys_that_are_gone_are_named() {
    let mut world = World::new(vec![Platter::flashed("sda")]);
    world.run(Some(&choice(Encryption::KeyFile)), &[]);
    world.power_cut();
    world.key_file = false;
    assert_eq!(world.run(None, &[]), (End::Absent, vec![Trouble::KeyMissing]));
    let mut world = World::new(vec![Platter::flashed("sda")]);
    let tpm = choice(Encryption::Tpm2);
    assert_eq!(world.run(Some(&tpm), &[]), (End::Absent, vec![Trouble::TpmMissing]));
    world.tpm = true;
    assert_eq!(world.run(Some(&choice(Encryption::Auto)), &[]), (End::Mounted, vec![]));
    world.power_cut();
    world.tpm = false;
    assert_eq!(world.run(Some(&tpm), &[]), (End::Absent, vec![Trouble::TpmMissing]));
    // A TPM that refuses is done without, where the site file leaves the choice.
    let mut world = World::new(vec![Platter::flashed("sda")]);
    (world.tpm, world.running.failed) =
        (true, vec![Step::Format { device: "/dev/sda6".into(), key: Some(Key::Tpm2) }]);
    assert_eq!(world.run(Some(&choice(Encryption::Auto)), &[]), (End::Mounted, vec![]));
    assert_eq!(world.contents[&("sda".to_owned(), 6)], Content::Luks(Key::File));
}

#[test]
fn a_disk_that_is_too_small_or_broken_is_named() {
    let mut disk = Platter::flashed("sda");
    disk.sectors = 1 << 18;
    let mut world = World::new(vec![disk.clone()]);
    let (_, troubles) = world.run(Some(&choice(Encryption::None)), &[]);
    assert_eq!(troubles, [Trouble::DataTooSmall("sda".to_owned())]);
    disk.sectors = 1 << 15;
    let mut world = World::new(vec![disk]);
    let (_, troubles) = world.run(Some(&choice(Encryption::None)), &[]);
    assert!(matches!(&troubles[..], [Trouble::BootDiskTable { .. }]), "{troubles:?}");
    let mut world = World::new(vec![Platter::flashed("sda")]);
    let mut inventory = world.inventory();
    inventory.kernel.esp = Some(Guid([1; 16]).max(Guid([0x77; 16])));
    let missing = Next::from(Trouble::BootDiskMissing);
    assert_eq!(next(&inventory, Ask::default()), missing);
    world.power_cut();
}

/// A site file that was changed to name another disk makes nothing new while the data lies elsewhere.
#[test]
fn data_that_lies_elsewhere_is_never_passed_over() {
    let disks = || vec![Platter::flashed("sda"), Platter::blank("sdb")];
    let on = |device: &str| DiskChoice {
        device: Some(device.to_owned()),
        ..choice(Encryption::KeyFile)
    };
    let mut world = World::new(disks());
    world.run(Some(&choice(Encryption::KeyFile)), &[]);
    world.power_cut();
    assert_eq!(world.run(Some(&on("/dev/sdb")), &[]), (End::Mounted, vec![]));
    assert!(world.disks[1].written.is_empty());
    let mut world = World::new(disks());
    world.run(Some(&on("/dev/sdb")), &[]);
    world.power_cut();
    let elsewhere = Trouble::DataElsewhere(vec!["sdb1".to_owned()]);
    assert_eq!(world.run(Some(&choice(Encryption::KeyFile)), &[]), (End::Absent, vec![elsewhere]));
    assert_eq!(world.contents[&("sda".to_owned(), 6)], Content::Blank);
}

fn encryptions() -> impl Strategy<Value = Encryption> {
    proptest::sample::select(vec![
        Encryption::Auto,
        Encryption::KeyFile,
        Encryption::Passphrase,
        Encryption::None,
    ])
}

fn contents() -> impl Strategy<Value = Content> {
    proptest::sample::select(vec![
        Content::Unseen,
        Content::Blank,
        Content::Unknown,
        Content::Ext4,
        Content::Luks(Key::File),
        Content::Member("u".to_owned()),
        Content::Foreign("ntfs".to_owned()),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever the power goes, as often as it goes: in the end the data is there, and what was
    /// mounted once was never made anew (asserted in `World::format`).
    #[test]
    fn power_cuts_cost_nothing(
        encryption in encryptions(),
        tpm in any::<bool>(),
        network in any::<bool>(),
        where_to in 0..3_u8,
        cuts in proptest::collection::vec((0..9_usize, 0..80_usize), 0..6),
    ) {
        let mut world = World::new(vec![
            Platter::flashed("sda"),
            Platter::blank("sdb"),
            Platter::blank("sdc"),
        ]);
        (world.tpm, world.network) = (tpm, network);
        world.power_cut();
        let mut wish = choice(encryption);
        match where_to {
            0 => {}
            1 => wish.device = Some("/dev/sdb".to_owned()),
            _ => wish.mirror = vec!["/dev/sdb".to_owned(), "/dev/sdc".to_owned()],
        }
        prop_assert_eq!(world.run(Some(&wish), &cuts), (End::Mounted, vec![]));
        world.power_cut();
        prop_assert_eq!(world.run(Some(&wish), &[]), (End::Mounted, vec![]));
    }

    /// Whatever lies about: nothing destroys what is not empty and not marked as ours, and two boot
    /// disks stop everything.
    #[test]
    fn no_plan_destroys(
        kinds in proptest::collection::vec((any::<bool>(), contents(), any::<bool>()), 1..4),
        encryption in encryptions(),
        names in proptest::collection::vec(0..4_usize, 0..3),
        adopted_already in any::<bool>(),
        network in any::<bool>(),
    ) {
        let all = ["sda", "sdb", "sdc"];
        let disks = kinds.iter().zip(all).map(|((flashed, content, _), name)| {
            if *flashed {
                return Platter::flashed(name);
            }
            Platter { content: content.clone(), ..Platter::blank(name) }
        });
        let mut world = World::new(disks.collect());
        for ((_, content, marked), disk) in kinds.iter().zip(&mut world.disks) {
            world.contents.insert((disk.name.clone(), 6), content.clone());
            if let (Some(table), true) = (disk.found().table().cloned(), adopted_already) {
                let table = adopted(&table, disk.geometry(), 6, *marked, || ESP).unwrap();
                disk.write(&table.writes(disk.geometry()), usize::MAX);
            }
        }
        world.network = network;
        world.power_cut();
        let mut wish = choice(encryption);
        let name = |n: &usize| format!("/dev/{}", all.get(*n).unwrap_or(&"sdx"));
        match names.as_slice() {
            [a, b] => wish.mirror = vec![name(a), name(b)],
            [a] => wish.device = Some(name(a)),
            _ => {}
        }
        let inventory = world.inventory();
        let flashed = inventory.disks.iter().filter(|d| d.table.has(ESP)).count();
        for _ in 0..12 {
            let inventory = world.inventory();
            let Next::Do(step) = world.next(Some(&wish)) else { break };
            prop_assert!(flashed < 2, "{:?}", step);
            let part = |device: &PathBuf| inventory.disks.iter().find_map(|d| {
                let node = d.nodes.iter().find(|n| dev(&n.name) == *device)?;
                let entry = d.table.table()?.entry(node.number)?;
                Some((node.content.clone(), entry.attributes & UNFINISHED != 0))
            });
            let destroyed: Vec<&PathBuf> = match &step {
                Step::Format { device, .. } if *device != dev("md127") => vec![device],
                Step::CreateArray(members) => members.iter().collect(),
                Step::AddMember { member, again: false, .. } => vec![member],
                _ => vec![],
            };
            for device in destroyed {
                let (content, marked) = part(device).unwrap();
                prop_assert!(marked, "{:?} {:?}", step, content);
                let ours = !matches!(content, Content::Foreign(_) | Content::Unseen);
                prop_assert!(ours, "{:?}", content);
            }
            if let Step::Partition { disk } = &step {
                let disk = inventory.disks.iter().find(|d| d.name == *disk).unwrap();
                prop_assert_eq!(&disk.content, &Content::Blank);
                prop_assert!(disk.table.is_none());
            }
            if let Step::Begin(place) = &step {
                let content = &world.contents[&(place.disk.clone(), place.number)];
                prop_assert_eq!(content, &Content::Blank);
            }
            world.perform(&step, usize::MAX);
            let after = world.inventory().disks;
            let esp = world.running.esp;
            world.running.esp = esp.map(|esp| followed(esp, &step, &inventory.disks, &after));
            world.running.done.push(step);
        }
    }
}
