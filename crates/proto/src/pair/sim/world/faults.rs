//! What goes wrong, and when. One call of [`World::fault`] is one more fault; each heals by itself.

use super::{CROSS, Event, Happening, MS, OneWay, SECOND, SERVICE, World};
use crate::id::Epoch;
use crate::pair::sim::Slip;
use crate::pair::{Arbitration, Frame, Input, Operator, Role, Waiting};

/// So many mails fit into a disk that is below its reserve.
const RESERVE_MAILS: u32 = 20;

/// What [`Event::Mend`] puts right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Cross,
    Service,
    Deaf(usize),
    /// What a network loses one way.
    OneWay(usize),
    Witness,
    Reach(usize),
    Room(usize),
    Nic(usize),
}

impl Broken {
    pub(super) const ALL: [Self; 13] = [
        Self::Cross,
        Self::Service,
        Self::Deaf(0),
        Self::Deaf(1),
        Self::OneWay(CROSS),
        Self::OneWay(SERVICE),
        Self::Witness,
        Self::Reach(0),
        Self::Reach(1),
        Self::Room(0),
        Self::Room(1),
        Self::Nic(0),
        Self::Nic(1),
    ];
}

impl World {
    pub(super) fn fault(&mut self) {
        if self.faults_over.is_some() {
            return;
        }
        let delay = self.rng.range(self.plan.fault_every / 4, self.plan.fault_every * 2);
        self.after(delay, Event::Fault);
        if self.plan.crash_loop && self.nodes[0].alive && self.rng.chance(600) {
            self.kill(0);
            let back = self.rng.range(100 * MS, 600 * MS);
            self.after(back, Event::Restart(0));
            return;
        }
        self.force_who_waits();
        let n = usize::from(self.rng.chance(500));
        // Most faults hit the primary: that is where it hurts.
        let n = if self.nodes[1 - n].lease && self.rng.chance(400) { 1 - n } else { n };
        let long = self.rng.chance(120);
        let (least, most) = if long { (3 * SECOND, 9 * SECOND) } else { (50 * MS, 3 * SECOND) };
        let time = self.rng.range(least, most);
        match self.rng.range(0, 100) {
            roll @ 0..36 => self.end_somebody(n, roll, time),
            roll @ 36..72 => self.cut(n, roll, time),
            72..79 => self.freeze(n),
            79..86 if self.plan.slow_disks => {
                self.say(|| format!("node {n}'s disk is slow"));
                self.nodes[n].slow_disk_until = self.now + time;
            }
            86..94 if self.nodes[n].runs() => self.feed(n, Input::Operator(Operator::Handover)),
            94..100 if self.nodes[n].runs() => {
                self.feed(n, Input::Operator(Operator::Stop));
                for delay in [5 * MS, 200 * MS, 2500 * MS] {
                    self.node_after(delay, n, Happening::Exit);
                }
            }
            _ => {}
        }
        if self.plan.witness && self.rng.chance(if self.plan.forgetful { 600 } else { 250 }) {
            self.witness_fault(time);
        }
        if self.plan.disks && self.rng.chance(250) {
            self.disk_fault(n, time);
        }
        if self.plan.trims && self.rng.chance(400) {
            self.trim(n);
        }
        let served = self.serviced() && (self.crossed() || self.plan.splits);
        if self.plan.nics && served && self.rng.chance(250) {
            self.nic_down(n);
            self.after(time, Event::Mend(Broken::Nic(n)));
        }
        self.notice_split();
    }

    fn force_who_waits(&mut self) {
        for n in 0..2 {
            let node = &self.nodes[n];
            let waits = node.runs() && node.machine.status().waiting == Waiting::Operator;
            let rash = if self.plan.witness { 50 } else { 500 };
            if waits && self.plan.splits && self.rng.chance(rash) {
                self.stats.forced += 1;
                self.oracle.parts();
                self.feed(n, Input::Operator(Operator::ForceSolo));
            }
        }
    }

    fn end_somebody(&mut self, n: usize, roll: u64, time: u64) {
        if !self.nodes[n].alive {
            return;
        }
        match roll {
            0..18 => self.crash(n, false, time),
            18..32 => self.crash(n, true, time),
            _ if self.nodes[1 - n].alive => {
                let power = self.rng.chance(500);
                self.crash(n, power, time);
                let time = self.rng.range(50 * MS, 4 * SECOND);
                self.crash(1 - n, power, time);
            }
            _ => {}
        }
    }

    fn cut(&mut self, n: usize, roll: u64, time: u64) {
        match roll {
            36..48 if self.cross && (self.serviced() || self.plan.splits) => {
                self.say(|| "cross-link cut".to_owned());
                self.cross = false;
                self.after(time, Event::Mend(Broken::Cross));
            }
            48..56 if self.service && (self.crossed() || self.plan.splits) => {
                self.say(|| "service network cut".to_owned());
                self.service = false;
                self.after(time, Event::Mend(Broken::Service));
            }
            // One of them hears the other, and is not heard, on any path.
            56..60 if self.plan.splits && self.rng.chance(300) => {
                self.lose_one_way(CROSS, n, time);
                self.lose_one_way(SERVICE, n, time);
            }
            56..60 if self.plan.splits => {
                self.say(|| "both networks cut".to_owned());
                self.cross = false;
                self.service = false;
                self.after(time, Event::Mend(Broken::Cross));
                self.after(time, Event::Mend(Broken::Service));
            }
            60..63 if self.crossed() && (self.serviced() || self.plan.splits) => {
                self.lose_one_way(CROSS, n, time);
            }
            63..65 if self.serviced() && (self.crossed() || self.plan.splits) => {
                self.lose_one_way(SERVICE, n, time);
            }
            60..66 => {
                self.say(|| format!("node {n} is deaf for beacons"));
                self.deaf[n] = true;
                self.after(time, Event::Mend(Broken::Deaf(n)));
            }
            66..72 => self.burst_until = self.now + time.min(400 * MS),
            _ => {}
        }
    }

    /// From now on that network carries nothing to node `to`.
    fn lose_one_way(&mut self, network: usize, to: usize, time: u64) {
        let stalls = self.rng.chance(500);
        self.say(|| format!("network {network} loses all that is sent to node {to}"));
        self.stats.one_ways += 1;
        self.one_way[network] = Some(OneWay { to, stalls });
        self.after(time, Event::Mend(Broken::OneWay(network)));
    }

    /// Both networks fail for longer than either node waits: without a witness, both lead.
    pub(super) fn part(&mut self) {
        let time = self.rng.range(2 * SECOND, 4 * SECOND);
        let standby = (0..2).find(|n| self.leads(1 - n) && self.nodes[*n].runs());
        match standby {
            // Of its interface the standby learns late, and only then falls the cross-link.
            Some(n) if self.serviced() && self.rng.chance(400) => {
                self.nic[n] = false;
                let seen = self.rng.range(400 * MS, 600 * MS);
                self.node_after(seen, n, Happening::NicSeen);
                self.after(time, Event::Mend(Broken::Nic(n)));
                self.after(700 * MS, Event::CutCross);
                self.after(time, Event::Mend(Broken::Cross));
            }
            _ => self.cut(0, 56, time),
        }
        self.notice_split();
    }

    pub(super) fn cut_cross(&mut self) {
        if self.faults_over.is_none() {
            self.say(|| "cross-link cut".to_owned());
            self.cross = false;
            self.notice_split();
        }
    }

    fn freeze(&mut self, n: usize) {
        if !self.plan.freezes || !self.nodes[n].runs() {
            return;
        }
        self.say(|| format!("node {n} freezes"));
        self.nodes[n].frozen = true;
        self.nodes[n].paused = self.rng.chance(500);
        let time = self.rng.range(50 * MS, 2 * SECOND);
        self.after(time, Event::Thaw(n));
        if self.rng.chance(400) {
            let then = self.rng.range(0, time * 2);
            self.die_after(then, 1 - n, false);
        }
    }

    pub(super) fn die_after(&mut self, delay: u64, n: usize, power: bool) {
        let life = self.nodes[n].life;
        self.after(delay, Event::Die { n, life, power });
    }

    pub(super) fn die(&mut self, n: usize, life: u32, power: bool) {
        let node = &self.nodes[n];
        if node.alive && node.life == life && self.faults_over.is_none() {
            let back = self.rng.range(100 * MS, 7 * SECOND);
            self.crash(n, power, back);
        }
    }

    /// Faults that hit just when something is under way: a handover, an admission, an election, a
    /// change of who decides.
    pub(super) fn aim_at(&mut self, n: usize, frame: &Frame) {
        let often = match frame {
            Frame::HandoverGo { .. } | Frame::Reign { .. } => 250,
            Frame::Limbo { .. } | Frame::InLimbo { .. } | Frame::Branched { .. } => 100,
            Frame::Join { .. } | Frame::Joined { .. } | Frame::Admit { .. } => 20,
            Frame::Admitted { .. } | Frame::Lead { .. } | Frame::Follow { .. } => 20,
            _ => return,
        };
        self.aim(n, often, 6 * MS);
    }

    /// Somebody falls, or the cross-link does, within `most`.
    pub(super) fn aim(&mut self, n: usize, often: u64, most: u64) {
        if !self.plan.aimed || self.faults_over.is_some() || !self.rng.chance(often) {
            return;
        }
        self.stats.aimed += 1;
        let (delay, power) = (self.rng.range(0, most), self.rng.chance(500));
        let victim = if self.rng.chance(500) { n } else { 1 - n };
        if self.rng.chance(200) && self.serviced() {
            self.cross = false;
            self.after(delay + 300 * MS, Event::Mend(Broken::Cross));
        } else {
            self.die_after(delay, victim, power);
        }
    }

    pub(super) fn witness_fault(&mut self, time: u64) {
        // Some witnesses forget again and again.
        let roll =
            if self.plan.forgetful { self.rng.range(60, 95) } else { self.rng.range(0, 100) };
        match roll {
            0..30 => {
                self.say(|| "the witness is away".to_owned());
                self.witness.up = false;
                self.after(time * 2, Event::Mend(Broken::Witness));
            }
            30..60 => {
                let n = usize::from(self.rng.chance(500));
                self.say(|| format!("node {n} is cut from the witness"));
                self.witness.reach[n] = false;
                self.after(time * 3, Event::Mend(Broken::Reach(n)));
            }
            60..80 => self.witness.lossy_until = self.now + time,
            80..92 => {
                let back = usize::try_from(self.rng.range(1, 4)).unwrap();
                self.witness.roll_back(back);
                self.say(|| format!("the witness is rolled back to {:?}", self.witness.held));
            }
            _ => {
                self.say(|| "the witness has lost everything".to_owned());
                self.witness.held = None;
            }
        }
    }

    // --- disks

    /// EIO at the next sync, or no room: at first for new mail, then for anything.
    fn disk_fault(&mut self, n: usize, time: u64) {
        if self.rng.chance(400) {
            self.say(|| format!("node {n}'s next sync fails"));
            self.nodes[n].sync_fails = true;
            return;
        }
        let full = self.rng.chance(500);
        let nearly = !full && self.rng.chance(500);
        self.say(|| {
            let how = match (full, nearly) {
                (true, _) => "full",
                (_, true) => "nearly full",
                _ => "below its reserve",
            };
            format!("node {n}'s disk is {how}")
        });
        let node = &mut self.nodes[n];
        (node.low, node.full, node.nearly) = (true, full, nearly);
        self.after(time, Event::Mend(Broken::Room(n)));
        let seen = self.rng.range(MS, 300 * MS);
        self.node_after(seen, n, Happening::Room);
    }

    pub(super) fn look_at_room(&mut self, n: usize) {
        let (node, reserve) = (&self.nodes[n], 1 << 30);
        let free = match (node.full, node.low) {
            (true, _) => 0,
            // A standby is to be left, but its log still takes what is under way.
            (_, true) if node.nearly => reserve / 8,
            (_, true) => reserve / 2,
            _ => reserve * 9,
        };
        self.feed(n, Input::Disk { free, reserve });
    }

    /// What stays broken when all else is healed.
    pub(super) fn leave_broken(&mut self) {
        match self.plan.left {
            Some(Broken::Nic(n)) => self.nic_down(n),
            Some(Broken::Room(n)) => {
                let node = &mut self.nodes[n];
                (node.low, node.full, node.nearly) = (true, false, false);
                self.node_after(MS, n, Happening::Room);
            }
            _ => {}
        }
    }

    /// The other one is well: it is to lead.
    pub(super) fn leads_unwell(&self) -> bool {
        match self.plan.left {
            Some(Broken::Nic(n) | Broken::Room(n)) => self.leads(n),
            _ => false,
        }
    }

    /// Nobody hands over for its health again before the pause is over.
    pub(super) fn check_ping_pong(&mut self, n: usize) {
        self.stats.unwell += 1;
        let pause = u64::try_from(super::FAULT_PAUSE.as_micros()).unwrap();
        let before = self.unwell_at.replace(self.now);
        if before.is_some_and(|at| self.now - at < pause * 19 / 20) {
            self.oracle
                .fail(|| format!("node {n} hands over for its health again, without a pause"));
        }
    }

    /// Whether what was just written is on the disk. If not, that is final: the process ends
    /// (invariant 11), and whether the bytes are there later, nobody can say.
    pub(super) fn wrote_to_disk(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        if !node.sync_fails && !node.full {
            return true;
        }
        if node.full {
            self.stats.full_disks += 1;
        } else {
            self.stats.failed_syncs += 1;
        }
        if self.rules.slip == Some(Slip::SyncRetried) && !node.full {
            // The second sync says yes; the pages that the first could not write are clean by then.
            node.sync_fails = false;
            let durable = node.log.durable;
            node.only_in_memory = Some(node.only_in_memory.map_or(durable, |m| m.min(durable)));
            return true;
        }
        self.say(|| format!("node {n} cannot write"));
        let log = &self.nodes[n].log;
        let keep = self.rng.range(log.durable, log.tail() + 1);
        self.half_written(n);
        self.kill(n);
        self.nodes[n].log.cut(keep);
        self.oracle.lost_tail(n);
        let again = self.rng.chance(200);
        self.nodes[n].sync_fails = again;
        let back = self.rng.range(100 * MS, 3 * SECOND);
        self.after(back, Event::Restart(n));
        false
    }

    /// A bit of a durable record has flipped: the log does not open, the disk is replaced and the node
    /// formed anew. Only where the other one has everything: of one copy, nothing could be saved.
    pub(super) fn flip(&mut self, n: usize) -> bool {
        let newest = self.nodes[0].register.epoch.max(self.nodes[1].register.epoch);
        let peer = &self.nodes[1 - n];
        let holds = peer.register.epoch == newest && peer.register.insync.has(peer.machine.me);
        let log = &self.nodes[n].log;
        let safe = holds && peer.alive && self.oracle.has_all(&self.nodes, 1 - n);
        if !safe || self.faults_over.is_some() || log.tail() <= log.trimmed {
            return false;
        }
        let at = self.rng.range(log.trimmed + 1, log.tail() + 1);
        self.say(|| format!("record {at} of node {n} is broken"));
        self.stats.damaged += 1;
        self.oracle.replaced[n] = true;
        if self.rng.chance(600) {
            // The node that has everything falls before it is copied.
            let delay = self.rng.range(0, 300 * MS);
            self.die_after(delay, 1 - n, false);
        }
        if self.rules.slip == Some(Slip::DamageIgnored) {
            self.nodes[n].log.cut(at - 1);
            self.nodes[n].known_commit = self.nodes[n].known_commit.min(at - 1);
            self.oracle.lost_tail(n);
            return false;
        }
        let log = &self.nodes[n].log;
        self.oracle.broken[n] = log.recs[..usize::try_from(log.durable).unwrap()].to_vec();
        self.start_empty(n);
        let register = &mut self.nodes[n].register;
        (register.seen, register.arbitration) = (Epoch(0), Arbitration::None);
        true
    }

    /// A register that was being written may be there or not.
    fn half_written(&mut self, n: usize) {
        if let Some((_, register)) = self.nodes[n].writing.front().copied()
            && self.rng.chance(500)
        {
            self.nodes[n].register = register;
        }
    }

    // --- processes

    /// Without a witness, two nodes that hear nothing of each other may both lead.
    pub(super) fn notice_split(&mut self) {
        let evidence = self.nodes.iter().all(|n| n.register.arbitration == Arbitration::None);
        if self.is_cut() && evidence && self.nodes.iter().all(|n| n.alive) {
            self.oracle.parts();
        }
    }

    /// Nothing that one of them says reaches the other, on any path. (Whoever is not heard may be
    /// succeeded, and hears so only when that is recorded: on a slow disk, too late.)
    pub(super) fn is_cut(&self) -> bool {
        !self.reaches(0) || !self.reaches(1)
    }

    /// A client's mail takes some of the room that a disk below its reserve has left (invariant 12):
    /// that is meant for what is under way, for queues and registers.
    pub(super) fn fill_up(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.taken_when_low = if node.low { node.taken_when_low + 1 } else { 0 };
        if node.taken_when_low > RESERVE_MAILS {
            self.oracle.fail(|| format!("node {n} has used up its reserve for new mail"));
        }
    }

    pub(super) fn crash(&mut self, n: usize, power: bool, back: u64) {
        self.say(|| format!("node {n} {}", if power { "loses power" } else { "is killed" }));
        if power {
            let log = &mut self.nodes[n].log;
            let keep = self.rng.range(log.durable, log.tail() + 1);
            log.cut(keep);
            self.oracle.lost_tail(n);
        }
        self.half_written(n);
        if power {
            self.power_off(n);
            self.nodes[n].lose_memory();
            self.new_clock(n);
        } else {
            self.kill(n);
        }
        self.after(back, Event::Restart(n));
    }

    /// The boot-time clock begins anew; each runs a little differently.
    pub(super) fn new_clock(&mut self, n: usize) {
        let start = self.rng.range(SECOND, 1_000 * SECOND);
        let wide = if self.plan.drift { 20_000 } else { 100 };
        let ppm = self.rng.range(0, 2 * wide).cast_signed() - wide.cast_signed();
        self.nodes[n].clock = super::super::node::Clock { base: self.now, start, ppm };
    }

    /// The process ends; its kernel resets the session.
    pub(super) fn kill(&mut self, n: usize) {
        self.send(n, super::Item::Fin);
        if self.plan.guardian && self.nodes[n].alive {
            self.say_gone(n);
        }
        self.end_face(n, self.plan.guardian);
        self.power_off(n);
    }

    pub(super) fn mend(&mut self, what: Broken) {
        match what {
            Broken::Cross => self.cross = true,
            Broken::Service => self.service = true,
            Broken::Deaf(n) => self.deaf[n] = false,
            Broken::OneWay(network) => self.one_way[network] = None,
            Broken::Witness => self.witness.up = true,
            Broken::Reach(n) => self.witness.reach[n] = true,
            Broken::Nic(n) => {
                self.nic[n] = true;
                // Then the other one's.
                if self.faults_over.is_none() && self.plan.nics && self.rng.chance(400) {
                    self.after(1200 * MS, Event::NicDown(1 - n));
                }
            }
            Broken::Room(n) => {
                (self.nodes[n].low, self.nodes[n].full) = (false, false);
                self.node_after(MS, n, Happening::Room);
                if self.faults_over.is_none() && self.plan.disks && self.rng.chance(400) {
                    self.nodes[1 - n].low = true;
                    self.node_after(MS, 1 - n, Happening::Room);
                    self.after(2 * SECOND, Event::Mend(Broken::Room(1 - n)));
                }
            }
        }
        self.say(|| format!("mended: {what:?}"));
    }

    /// A witness that had forgotten a reign of which this node had not heard did as it was asked.
    pub(super) fn nobody_could_know(&mut self, n: usize, top: Epoch) {
        if self.nodes[n].register.seen < top {
            self.oracle.parts();
        }
    }

    pub(super) fn leads(&self, n: usize) -> bool {
        self.nodes[n].machine.status().role == Role::Primary
    }
}
