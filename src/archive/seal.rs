//! The seal: age's format with a passphrase, so that `age -d` opens it where there is no nuncio.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::stream::StreamWriter;
use age::{DecryptError, Decryptor, Encryptor, scrypt};

use super::ArchiveError;

/// Work for one try of a passphrase, as a power of two: 128 MiB and about a second.
const WORK: u8 = 17;
/// So much is done for a file of others: 512 MiB. `age` itself uses 18.
const MAX_WORK: u8 = 19;
/// What a sealed file begins with.
const SEALED: &[u8] = b"age-encryption.org/";
/// Longest passphrase in bytes.
const LONGEST: usize = 1024;

/// What an archive is sealed with. Shown nowhere, and wiped when it goes.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// A passphrase; `None` where it is empty or too long to be one.
    pub fn new(text: String) -> Option<Self> {
        let secret = SecretString::from(text);
        (1..=LONGEST).contains(&secret.expose_secret().len()).then_some(Self(secret))
    }

    /// Whether it is the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

/// Where an archive is written to.
pub(super) enum Sealer<W: Write> {
    Open(W),
    Sealed(StreamWriter<W>),
}

impl<W: Write> Sealer<W> {
    pub(super) fn new(to: W, passphrase: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        let Some(Passphrase(passphrase)) = passphrase else { return Ok(Self::Open(to)) };
        let mut recipient = scrypt::Recipient::new(passphrase.clone());
        recipient.set_work_factor(WORK);
        let sealed = Encryptor::with_recipients(std::iter::once(&recipient as _))
            .map_err(|error| ArchiveError::Sealing(Box::new(error)))?;
        let writer = sealed.wrap_output(to).map_err(|error| ArchiveError::Sealing(Box::new(error)))?;
        Ok(Self::Sealed(writer))
    }

    /// Nothing more comes.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Open(to) => Ok(to),
            Self::Sealed(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(to) => to.write(bytes),
            Self::Sealed(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(to) => to.flush(),
            Self::Sealed(writer) => writer.flush(),
        }
    }
}

/// What an archive is read from. The passphrase is asked for only where it is sealed.
pub(super) fn open<E: From<ArchiveError>>(
    path: &Path,
    passphrase: impl FnOnce() -> Result<Passphrase, E>,
) -> Result<Box<dyn BufRead>, E> {
    let failed = ArchiveError::io("read", path);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let begins = file.fill_buf().map_err(ArchiveError::io("read", path))?;
    if !begins.starts_with(SEALED) {
        return Ok(Box::new(file));
    }
    let not_one = |why: String| ArchiveError::NotOne { path: path.to_owned(), why };
    let sealed = Decryptor::new_buffered(file).map_err(|error| not_one(format!("its seal: {error}")))?;
    if !sealed.is_scrypt() {
        return Err(
            not_one("it is sealed for a key, not by a passphrase; open it with `age -d` first".to_owned()).into()
        );
    }
    let Passphrase(passphrase) = passphrase()?;
    let mut identity = scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(MAX_WORK);
    let opened = sealed.decrypt(std::iter::once(&identity as _)).map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => {
            ArchiveError::TooMuchWork { path: path.to_owned(), required, most: MAX_WORK }
        }
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            ArchiveError::WrongPassphrase
        }
        other => ArchiveError::Damaged { path: path.to_owned(), why: format!("its seal: {other}") },
    })?;
    Ok(Box::new(BufReader::new(opened)))
}
