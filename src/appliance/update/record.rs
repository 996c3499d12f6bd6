//! What is known about the images in the two slots, and about those that failed. On the data disk.
//!
//! Invariants: written as a whole (a new file, then its name), so that a power cut leaves the old
//! records or the new ones; at most [`FAILURES_MAX`] failures. Deliberately absent: which slot starts.
//! The loader's block alone says that.

use super::{DATA_FORMAT, DATA_FORMAT_LEAST};
use crate::appliance::report::Slot;
use crate::appliance::slot::digest::Digest;
use crate::appliance::slot::package::Manifest;
use crate::appliance::slot::version::Version;
use serde::{Deserialize, Serialize};
use understudy_proto::time::UnixMs;

/// Most failed images that are remembered; the oldest is forgotten.
pub const FAILURES_MAX: usize = 32;

/// What an image is, as far as it matters after it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its version.
    pub version: Version,
    /// BLAKE3 of the slot; `None` for one that was flashed, not installed.
    pub blake3: Option<Digest>,
    /// The data format that it writes once it is good.
    pub data_format: u32,
    /// The oldest data format that it reads.
    pub data_format_least: u32,
}

/// How far an image has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It is being written, or its writing was cut off.
    Writing,
    /// It was written and compared, and has not been healthy yet.
    Ready,
    /// It was healthy here.
    Good,
    /// Its trials failed.
    Bad,
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The image.
    pub image: Image,
    /// How far it has come.
    pub condition: Condition,
    /// The id of the boot in which it came so far, or was chosen to start.
    pub boot: String,
    /// When, by this machine's clock.
    pub at: UnixMs,
}

/// An image whose trials failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedImage {
    /// Its name.
    pub blake3: Digest,
    /// Its version.
    pub version: Version,
    /// When, by this machine's clock.
    pub at: UnixMs,
    /// Why, for people.
    pub why: String,
}

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// The format that the data may have by now: that of the newest image that was good here.
    pub data_format: u32,
    /// The slot that was last marked good.
    pub good: Option<Slot>,
    /// Slot A; `None` where nothing is known.
    pub a: Option<Place>,
    /// Slot B; `None` where nothing is known.
    pub b: Option<Place>,
    /// Images that failed, oldest first.
    pub failed: Vec<FailedImage>,
}

impl Default for Records {
    fn default() -> Self {
        Self { data_format: DATA_FORMAT, good: None, a: None, b: None, failed: Vec::new() }
    }
}

impl Image {
    /// The image that runs, where it was flashed and no record of it exists.
    #[must_use]
    pub fn flashed(version: Version) -> Self {
        Self {
            version,
            blake3: None,
            data_format: DATA_FORMAT,
            data_format_least: DATA_FORMAT_LEAST,
        }
    }

    /// Whether it reads data of `format`.
    #[must_use]
    pub fn reads(&self, format: u32) -> bool {
        (self.data_format_least..=self.data_format).contains(&format)
    }
}

impl From<&Manifest> for Image {
    fn from(manifest: &Manifest) -> Self {
        Self {
            version: manifest.about.version.clone(),
            blake3: Some(manifest.blake3),
            data_format: manifest.about.data_format,
            data_format_least: manifest.about.data_format_least,
        }
    }
}

impl Records {
    /// Reads them; `None` when the text is not what we write.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The text that says this.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// What is in `slot`.
    #[must_use]
    pub fn place(&self, slot: Slot) -> Option<&Place> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    /// What is in `slot`, to be changed.
    pub fn place_mut(&mut self, slot: Slot) -> &mut Option<Place> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// The failure of the image called so.
    #[must_use]
    pub fn failure(&self, blake3: Digest) -> Option<&FailedImage> {
        self.failed.iter().find(|failed| failed.blake3 == blake3)
    }

    /// The trials of what is in `slot` failed.
    pub fn fail(&mut self, slot: Slot, at: UnixMs, why: &str) {
        self.note_failure(slot, at, why);
        if let Some(place) = self.place_mut(slot) {
            place.condition = Condition::Bad;
            place.at = at;
        }
    }

    /// The image in `slot` is not to be tried again. One that was good here before may be; and what
    /// was noted first stays.
    pub fn note_failure(&mut self, slot: Slot, at: UnixMs, why: &str) {
        let place = self.place(slot).filter(|place| place.condition == Condition::Ready);
        let Some((version, Some(blake3))) =
            place.map(|place| (place.image.version.clone(), place.image.blake3))
        else {
            return;
        };
        if self.failure(blake3).is_none() {
            self.failed.push(FailedImage { blake3, version, at, why: why.to_owned() });
            if self.failed.len() > FAILURES_MAX {
                self.failed.remove(0);
            }
        }
    }

    /// The image called so has not failed, after all.
    pub fn forgive(&mut self, blake3: Digest) {
        self.failed.retain(|failed| failed.blake3 != blake3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_and_read() {
        let image = Image::flashed("1.2.3".parse().unwrap());
        let mut records = Records::default();
        assert_eq!(Records::read(&records.write()), Some(records.clone()));
        for i in 0..40 {
            let image = Image { blake3: Some(Digest([i; 32])), ..image.clone() };
            let condition = Condition::Ready;
            records.b = Some(Place { image, condition, boot: "x".into(), at: UnixMs(1) });
            records.fail(Slot::B, UnixMs(2), "not healthy");
        }
        records.fail(Slot::B, UnixMs(3), "told twice");
        assert_eq!(records.failed.len(), FAILURES_MAX);
        assert_eq!(records.failure(Digest([39; 32])).unwrap().why, "not healthy");
        assert_eq!(records.failure(Digest([7; 32])), None);
        assert_eq!(records.b.as_ref().unwrap().condition, Condition::Bad);
        assert_eq!(Records::read(&records.write()), Some(records));
        assert_eq!(Records::read(b"{}"), None);
    }

    #[test]
    fn data_is_read_between_two_formats() {
        let image = Image {
            data_format: 3,
            data_format_least: 2,
            ..Image::flashed("1.0.0".parse().unwrap())
        };
        assert_eq!([1, 2, 3, 4].map(|format| image.reads(format)), [false, true, true, false]);
    }
}
