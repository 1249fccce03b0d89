//! The images that devices can go back to: each once as `good/SHA256.img`, and `good/DEVICE.json` says which are whose.
//!
//! Files beside the database, so that the way back survives a database that does not. A record is on the disk before an
//! image that it no longer names goes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{GOOD, IMAGE, Staging, digest_of, remove, sync_folder};
use crate::device::{DeviceId, GoodImage, Goods, Sha256Digest};

/// Ending of a record.
const RECORD: &str = "json";
/// Ending of what is not complete yet.
const FRESH: &str = "new";
/// Longest record in bytes: three images with their address ranges.
const MAX_RECORD: u64 = 16 << 20;

/// What `good/DEVICE.json` holds.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    device: DeviceId,
    #[serde(flatten)]
    goods: Goods,
}

impl Staging {
    /// What each device can go back to. A record that cannot be read, and an image that is not what its record says, are
    /// told in the log and left out; files that no record names are removed.
    pub fn goods(&self) -> HashMap<DeviceId, Goods> {
        let _changing = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.records();
        self.clear(&records);
        let whole = |record: Record| {
            let Record { device, mut goods } = record;
            goods.images.retain(|good| is_whole(&device, good));
            (device, goods)
        };
        records.into_iter().map(whole).filter(|(_, goods)| !goods.images.is_empty()).collect()
    }

    /// Keeps an image that the device is known to hold now, and tells what it can go back to.
    ///
    /// # Errors
    /// What the system said; what was kept before is still there then.
    pub fn keep_good(&self, device: &DeviceId, mut good: GoodImage) -> io::Result<Goods> {
        let _changing = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let content = self.content_path(good.image.sha256);
        if digest_of(&content).ok() != Some(good.image.sha256) {
            let fresh = content.with_extension(FRESH);
            self.link(&good.image.path, &fresh)?;
            fs::rename(&fresh, &content)?;
            sync_folder(&self.good_folder())?;
        }
        good.image.path = content;
        let record = self.record_path(device);
        let mut goods = self.read(&record).map_or_else(|_| Goods::default(), |record| record.goods);
        goods.hold(good);
        write(&record, &Record { device: device.clone(), goods: goods.clone() })?;
        sync_folder(&self.good_folder())?;
        self.clear(&self.records());
        Ok(goods)
    }

    fn good_folder(&self) -> PathBuf {
        self.folder.join(GOOD)
    }

    fn content_path(&self, sha256: Sha256Digest) -> PathBuf {
        self.good_folder().join(format!("{sha256}.{IMAGE}"))
    }

    fn record_path(&self, device: &DeviceId) -> PathBuf {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let escape = |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02x}") };
        let name: String = device.as_str().bytes().map(escape).collect();
        self.good_folder().join(format!("{name}.{RECORD}"))
    }

    fn entries(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.good_folder()) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).collect()
    }

    fn records(&self) -> Vec<Record> {
        let is_record = |path: &PathBuf| path.extension().is_some_and(|ending| ending == RECORD);
        let read = |path: PathBuf| {
            let told = |error: &io::Error| {
                tracing::warn!(path = %path.display(), %error, "a record of good images cannot be read");
            };
            self.read(&path).inspect_err(told).ok()
        };
        self.entries().into_iter().filter(is_record).filter_map(read).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Record> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_RECORD).read_to_end(&mut text)?;
        let mut record: Record = serde_json::from_slice(&text)?;
        // Wherever the folder was when that was written.
        record.goods.images.iter_mut().for_each(|good| good.image.path = self.content_path(good.image.sha256));
        Ok(record)
    }

    /// Removes images that no record names, and what was never completed.
    fn clear(&self, records: &[Record]) {
        let named: HashSet<PathBuf> = records
            .iter()
            .flat_map(|record| &record.goods.images)
            .map(|good| self.content_path(good.image.sha256))
            .collect();
        let ours = |path: &Path| path.extension().is_some_and(|ending| ending == IMAGE || ending == FRESH);
        for path in self.entries().iter().filter(|path| ours(path) && !named.contains(*path)) {
            remove(path);
        }
    }
}

fn is_whole(device: &DeviceId, good: &GoodImage) -> bool {
    let whole = digest_of(&good.image.path).is_ok_and(|sha256| sha256 == good.image.sha256);
    if !whole {
        let path = good.image.path.display();
        tracing::warn!(%device, %path, "an image that the device could go back to is damaged or gone");
    }
    whole
}

fn write(path: &Path, record: &Record) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{GoodOrigin, ImageFormat, ImageInfo, StagedImage, UpdateId};
    use crate::update::staging::PartFile;

    fn staging() -> (tempfile::TempDir, Staging) {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = Staging::open(folder.path()).expect("staging");
        (folder, staging)
    }

    fn good(staging: &Staging, bytes: &[u8]) -> GoodImage {
        let name = UpdateId(uuid::Uuid::now_v7()).to_string();
        let mut part = PartFile::create(staging.part_path(&name), 1000).expect("a file");
        part.write(bytes).expect("room");
        let stored = part.finish(staging.image_path(&name)).expect("finished");
        let info =
            ImageInfo { format: ImageFormat::Raw, flash_bytes: 1, ranges: Vec::new(), version: None, project: None };
        let image = StagedImage {
            path: stored.path,
            size: stored.size,
            sha256: stored.sha256,
            version: None,
            info,
            signed_by: None,
        };
        GoodImage { image, origin: GoodOrigin::Proven, at: 1 }
    }

    #[test]
    fn good_images_outlive_their_update_and_are_each_kept_once() {
        let (_folder, staging) = staging();
        let (one, two) = (DeviceId::new("press/3 ü"), DeviceId::new("press-4"));
        let image = good(&staging, b"first");
        staging.keep_good(&one, image.clone()).expect("kept");
        staging.keep_good(&two, image.clone()).expect("kept");
        remove(&image.image.path);
        let goods = staging.goods();
        assert_eq!(goods.len(), 2);
        let kept = &goods[&one].images[0].image;
        assert_eq!(fs::read(&kept.path).expect("it is there"), b"first");
        assert_eq!(kept.path, goods[&two].images[0].image.path, "both share it");
    }

    #[test]
    fn what_nobody_names_any_more_goes_and_what_is_damaged_is_no_way_back() {
        let (_folder, staging) = staging();
        let device = DeviceId::new("press-3");
        let first = staging.keep_good(&device, good(&staging, b"0")).expect("kept").images[0].image.path.clone();
        for bytes in [b"1", b"2", b"3"] {
            staging.keep_good(&device, good(&staging, bytes)).expect("kept");
        }
        assert!(!first.exists(), "the oldest made room");
        let goods = staging.goods()[&device].clone();
        assert_eq!(goods.images.len(), 3);
        fs::write(&goods.images[0].image.path, b"rot").expect("written");
        assert_eq!(staging.goods()[&device].images.len(), 2);
        fs::write(staging.record_path(&device), b"no record").expect("written");
        assert!(staging.goods().is_empty(), "told in the log, and nothing panics");
    }
}
