//! What a board can go back to, and what is known of what it holds.

use super::{Sha256Digest, StagedImage};

/// So many images a device can go back to are kept.
const KEPT: usize = 3;

/// An image that ran on a device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct GoodImage {
    /// The image; its path is where it is kept.
    pub image: StagedImage,
    /// How it came to be known as good.
    pub origin: GoodOrigin,
    /// Seconds since 1970 when that was.
    pub at: i64,
}

/// How an image came to be known as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoodOrigin {
    /// It was flashed here and proved itself.
    Proven,
    /// It was read from the board before the first flash.
    Saved,
}

/// The images a device can go back to.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Goods {
    /// Newest first, at most three.
    pub images: Vec<GoodImage>,
    /// Which of them the board is known to hold; `None` since a flash of another one began.
    pub holds: Option<Sha256Digest>,
}

impl Goods {
    /// The newest image that the board does not hold already.
    pub fn last_good(&self) -> Option<&GoodImage> {
        self.images.iter().find(|good| Some(good.image.sha256) != self.holds)
    }

    /// The board is known to hold this one now; the oldest makes room.
    pub fn hold(&mut self, good: GoodImage) {
        let sha256 = good.image.sha256;
        self.images.retain(|other| other.image.sha256 != sha256);
        self.images.insert(0, good);
        self.images.truncate(KEPT);
        self.holds = Some(sha256);
    }
}

/// What is known of what a board holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "board")]
pub enum BoardState {
    /// What it ran when it was last looked at, or what was proven since.
    #[default]
    Sound,
    /// A flash has begun, and nothing has proven the board since.
    Touched,
    /// A flash ended badly and the board does not tell that it runs: 3/0/11 is 8.
    Quarantined {
        /// One line: why.
        reason: String,
    },
}

/// An image that is put back in place of one that failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Restoring {
    /// What is put back.
    pub good: GoodImage,
    /// Why: the reason of the failure.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::device::{ImageFormat, ImageInfo};

    fn good(number: u8) -> GoodImage {
        let info =
            ImageInfo { format: ImageFormat::Raw, flash_bytes: 1, ranges: Vec::new(), version: None, project: None };
        let (path, sha256) = (PathBuf::new(), Sha256Digest([number; 32]));
        let image = StagedImage { path, size: 1, sha256, version: None, info, signed_by: None };
        GoodImage { image, origin: GoodOrigin::Proven, at: 0 }
    }

    #[test]
    fn one_goes_back_to_the_newest_image_that_the_board_does_not_hold() {
        let mut goods = Goods::default();
        assert_eq!(goods.last_good(), None);
        goods.hold(good(1));
        assert_eq!(goods.last_good(), None, "it holds the only one");
        goods.hold(good(2));
        assert_eq!(goods.last_good(), Some(&good(1)));
        goods.holds = None;
        assert_eq!(goods.last_good(), Some(&good(2)), "another flash has begun since");
    }

    #[test]
    fn few_images_are_kept_and_each_once() {
        let mut goods = Goods::default();
        [1, 2, 3, 4, 3].into_iter().for_each(|number| goods.hold(good(number)));
        assert_eq!(goods.images, [good(3), good(4), good(2)]);
    }
}
