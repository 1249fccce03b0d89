//! The one adapter that is used: whoever has taken it has it for himself, and says what for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use btleplug::api::Central as _;
use btleplug::platform::Adapter;
use tokio::sync::OwnedMutexGuard;

/// The adapter, where there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Radio {
    adapter: Arc<tokio::sync::Mutex<Option<Adapter>>>,
    /// What it is called, and what for it is taken just now.
    shown: Arc<Mutex<(Option<String>, Option<String>)>>,
}

/// The adapter, taken.
pub(super) struct Taken {
    adapter: OwnedMutexGuard<Option<Adapter>>,
    radio: Radio,
}

impl Radio {
    /// Waits until nobody has it.
    pub(super) async fn take(&self, what_for: &str) -> Taken {
        let adapter = Arc::clone(&self.adapter).lock_owned().await;
        self.shown().1 = Some(what_for.to_owned());
        Taken { adapter, radio: self.clone() }
    }

    /// There is another adapter from now on, or none.
    pub(super) async fn set(&self, adapter: Option<Adapter>) {
        let name = match &adapter {
            // `hci0 (usb:v1D6Bp0246d0540)`
            Some(adapter) => adapter.adapter_info().await.ok(),
            None => None,
        };
        let name = name.and_then(|info| info.split(' ').next().map(str::to_owned));
        *self.adapter.lock().await = adapter;
        self.shown().0 = name;
    }

    /// What the adapter is called, and what for it is taken just now; `None` without one.
    pub(super) fn holder(&self) -> Option<(String, Option<String>)> {
        let (name, holder) = self.shown().clone();
        Some((name?, holder))
    }

    /// Plain values: a poisoned lock is still good.
    fn shown(&self) -> MutexGuard<'_, (Option<String>, Option<String>)> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The adapter, where there is one.
    pub(super) fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.radio.shown().1 = None;
    }
}
