//! Images on their way in: a form with files, written to a folder of their own, bounded in size, time and number.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::Multipart;
use axum::extract::multipart::Field;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::problem::Problem;
use crate::control::FailureCode;

/// So many come in at once.
const AT_ONCE: usize = 4;
/// The next bytes must have come within this.
const PIECE_TIME: Duration = Duration::from_secs(10);
/// The whole must have come within this.
const WHOLE_TIME: Duration = Duration::from_secs(600);
/// Largest signature, in bytes: four lines of text.
const MAX_SIGNATURE: u64 = 4 << 10;
/// Longest text of a field, in bytes.
const MAX_TEXT: u64 = 256;
/// Longest file name that is kept.
const MAX_NAME: usize = 100;
/// What a form may hold besides the image, in bytes: the signature, fields, and what stands between them.
pub(super) const MAX_AROUND: usize = 64 << 10;

/// The folder, and how much may come.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
    max_image: u64,
    places: Arc<Semaphore>,
}

/// What came. Its files go with it.
#[derive(Debug)]
pub(super) struct Upload {
    /// The image, by the name that its sender gave it as far as that is harmless.
    pub(super) image: PathBuf,
    /// The version that it must report.
    pub(super) version: Option<String>,
    /// Begin also outside the maintenance window.
    pub(super) now: bool,
    _folder: Folder,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    _place: OwnedSemaphorePermit,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an upload could not be removed");
        }
    }
}

impl Uploads {
    /// Makes the folder, and empties it of what an earlier gateway left.
    ///
    /// # Errors
    /// When the state folder does not permit it.
    pub(super) fn new(folder: &Path, max_image: u64) -> anyhow::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        Ok(Self { folder: folder.to_owned(), max_image, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Takes a form: `image`, and where wanted `signature`, `version` and `now`.
    ///
    /// # Errors
    /// When it is too large, too slow, or not such a form.
    pub(super) async fn receive(&self, form: Multipart) -> Result<Upload, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Problem::new(FailureCode::Overloaded, "other images are coming in already"))?;
        let path = self.folder.join(Uuid::now_v7().to_string());
        tokio::fs::create_dir_all(&path).await.map_err(disk)?;
        let folder = Folder { path, _place: place };
        let whole = timeout(WHOLE_TIME, self.fields(form, folder)).await;
        whole.unwrap_or_else(|_| Err(Problem::new(FailureCode::TooSlow, "the image did not come in time")))
    }

    async fn fields(&self, mut form: Multipart, folder: Folder) -> Result<Upload, Problem> {
        let (mut image, mut signature, mut version, mut now) = (None, None, None, false);
        while let Some(mut field) =
            timeout(PIECE_TIME, form.next_field()).await.map_err(|_| slow())?.map_err(|error| malformed(&error))?
        {
            match field.name().unwrap_or_default() {
                "image" => {
                    let Some(name) = harmless(field.file_name().unwrap_or_default()) else { continue };
                    if image.is_some() {
                        return Err(Problem::new(FailureCode::BadRequest, "there are two images in the form"));
                    }
                    let path = folder.path.join(name);
                    write(&mut field, &path, self.max_image).await?;
                    image = Some(path);
                }
                "signature" => {
                    // A browser sends a field for a file that was not chosen.
                    if field.file_name().is_some_and(|name| !name.is_empty()) {
                        let path = folder.path.join("signature");
                        write(&mut field, &path, MAX_SIGNATURE).await?;
                        signature = Some(path);
                    }
                }
                "version" => version = Some(text(&mut field).await?.trim().to_owned()).filter(|text| !text.is_empty()),
                "now" => now = matches!(text(&mut field).await?.as_str(), "true" | "on" | "1"),
                other => return Err(Problem::new(FailureCode::BadRequest, format!("the form has a field `{other}`"))),
            }
        }
        let Some(image) = image else {
            let mut problem = Problem::new(FailureCode::BadRequest, "there is no image in the form");
            problem.0.hint = Some("multipart/form-data with a file `image`: curl -F image=@blinky.hex".to_owned());
            return Err(problem);
        };
        if let Some(signature) = signature {
            let mut beside = image.clone().into_os_string();
            beside.push(".minisig");
            tokio::fs::rename(signature, beside).await.map_err(disk)?;
        }
        Ok(Upload { image, version, now, _folder: folder })
    }
}

async fn write(field: &mut Field<'_>, path: &Path, most: u64) -> Result<(), Problem> {
    let mut file = File::create(path).await.map_err(disk)?;
    let mut length = 0_u64;
    while let Some(piece) = piece(field).await? {
        length = length.saturating_add(piece.len() as u64);
        if length > most {
            return Err(Problem::new(FailureCode::TooLarge, format!("at most {most} bytes are taken")));
        }
        file.write_all(&piece).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)
}

async fn text(field: &mut Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = piece(field).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > MAX_TEXT {
            return Err(Problem::new(FailureCode::TooLarge, format!("a field holds more than {MAX_TEXT} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(FailureCode::BadRequest, "a field is not UTF-8"))
}

async fn piece(field: &mut Field<'_>) -> Result<Option<impl std::ops::Deref<Target = [u8]> + use<>>, Problem> {
    timeout(PIECE_TIME, field.chunk()).await.map_err(|_| slow())?.map_err(|error| malformed(&error))
}

fn slow() -> Problem {
    Problem::new(FailureCode::TooSlow, "nothing more came")
}

fn malformed(error: &axum::extract::multipart::MultipartError) -> Problem {
    match error.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => Problem::new(FailureCode::TooLarge, error.body_text()),
        _ => Problem::new(FailureCode::BadRequest, format!("the form cannot be understood: {}", error.body_text())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn disk(error: std::io::Error) -> Problem {
    tracing::warn!(%error, "an upload could not be written");
    Problem::new(FailureCode::Failed, format!("the image could not be written: {error}"))
}

/// The last part of a file name, of characters that mean nothing to anybody; `None` where no file was chosen.
fn harmless(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect();
    let plain = plain.trim_start_matches('.');
    let from = plain.len().saturating_sub(MAX_NAME);
    Some(plain.get(from..)?.to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_harmless_and_keeps_its_ending() {
        for (name, harmless_name) in [
            ("blinky.hex", Some("blinky.hex")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\firmware\\a b.bin", Some("a_b.bin")),
            ("..", None),
            ("", None),
            ("<script>.hex", Some("_script_.hex")),
        ] {
            assert_eq!(harmless(name).as_deref(), harmless_name, "{name}");
        }
        assert!(harmless(&format!("{}.elf", "x".repeat(500))).is_some_and(|name| name.ends_with(".elf")));
    }
}
