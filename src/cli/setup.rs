//! `nuncio setup`: from a package that is just installed to the first device at a server.

mod answers;
mod file;
mod service;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use nuncio::config::{self, Config};
use nuncio::control::{Client, ClientError, DeviceList, Ending, Lifecycle, TokenOrder, Why};
use nuncio::device::{Access, BoardId, Role};

use super::output::{or_dash, print, print_aside, table};
use super::{code, devices, moment};
use answers::Answers;

/// How long is looked around: what is plugged in is there at once, the network takes its time.
const LOOK: Duration = Duration::from_secs(4);
/// How long the first device may take to be registered.
const FIRST_DEVICE: Duration = Duration::from_secs(60);
/// How long a token for the first look at the page is good.
const FIRST_LOOK_S: u64 = 12 * 3600;

/// What need not be asked.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The Device Management server, coap://HOST[:PORT]
    #[arg(long, value_name = "URI", conflicts_with = "builtin")]
    server: Option<String>,
    /// No server of your own: use the one that is built in
    #[arg(long)]
    builtin: bool,
    /// Who sees the page: this machine, everybody on the network who has a token (over https), or nobody
    #[arg(long, value_name = "WHO")]
    page: Option<PageFor>,
    /// Write the configuration, but start nothing
    #[arg(long)]
    no_start: bool,
}

/// Who sees the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PageFor {
    /// Browsers on this machine
    Local,
    /// Browsers anywhere on the network, over https
    Network,
    /// Nobody
    Off,
}

/// `boards`: those that can be flashed, and their names.
pub(super) fn setup<F, G>(
    chosen: Option<&Path>,
    options: Options,
    boards: fn(&Config) -> Vec<(BoardId, String)>,
    gateway: G,
) -> anyhow::Result<u8>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    let target = chosen.map_or_else(|| PathBuf::from(config::DEFAULT_FILE), Path::to_owned);
    // Before anything is asked: whether what is answered can be written down.
    file::may_be_written(&target)?;
    let config = config::parse(&target, None)?;
    let boards = boards(&config);
    let seen = look_around(config, gateway)?;
    tell(&seen);
    let server = if options.builtin { Some(None) } else { options.server.map(Some) };
    let answers = Answers::ask(server, options.page, file::named_before(&target)?, &seen.list, &boards)?;
    let text = file::text(&answers);
    config::parse(&target, Some(&text)).context("what was answered makes no valid configuration")?;
    // Somebody may have written it while the questions stood there.
    file::may_be_written(&target)?;
    file::write(&target, &text)?;
    print(&format!("Written: {}", target.display()));
    if options.no_start {
        return Ok(code::OK);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(start(&target, &answers))
}

/// What is there, and how sure each board is.
struct Seen {
    list: DeviceList,
    why: Vec<Why>,
}

/// By the daemon that runs, else by a gateway of our own for some seconds. Neither opens a port.
fn look_around<F, G>(config: Config, gateway: G) -> anyhow::Result<Seen>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    let running = Client::new(config.gateway.socket.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(ask(&running)) {
        Ok(seen) => Ok(seen),
        Err(ClientError::NotRunning { .. }) => {
            drop(runtime);
            print_aside(&format!("Looking for boards, for {} seconds ...", LOOK.as_secs()));
            moment::with_gateway(config, "error".to_owned(), gateway, async |client| {
                tokio::time::sleep(LOOK).await;
                Ok(ask(&client).await?)
            })
        }
        Err(error) => Err(error.into()),
    }
}

async fn ask(client: &Client) -> Result<Seen, ClientError> {
    let list = client.devices().await?;
    let mut why = Vec::new();
    for device in &list.devices {
        // One that went meanwhile is not worth a word.
        why.extend(client.why(device.id.as_str()).await.ok());
    }
    Ok(Seen { list, why })
}

fn tell(seen: &Seen) {
    if seen.list.devices.is_empty() && seen.list.links.is_empty() {
        return print("No board is plugged in yet. That is no obstacle: one that comes later joins by itself.");
    }
    if !seen.list.devices.is_empty() {
        let rows = seen.list.devices.iter().map(|device| {
            let why = seen.why.iter().find(|why| why.subject.device.as_ref() == Some(&device.id));
            let sure = why.and_then(|why| why.sureness.as_deref());
            [device.id.to_string(), device.board.to_string(), or_dash(sure), device.link.to_string()]
        });
        print(&table(["FOUND", "BOARD", "HOW SURE", "LINK"], rows));
    }
    for link in &seen.list.links {
        let seen = link.seen.as_deref().map(|seen| format!(" ({seen})")).unwrap_or_default();
        let why = match &link.access {
            Access::Busy { holder, remedy } => format!("in use by {holder}; {remedy}"),
            Access::NotPermitted { remedy, .. } => format!("may not be used; {remedy}"),
            Access::Usable | Access::Denied | Access::Absent => link.note.clone().unwrap_or_default(),
        };
        print(&format!("{}{seen}: {why}", link.link));
    }
}

/// Has the daemon run with the new file, and waits for the first device.
async fn start(target: &Path, answers: &Answers) -> anyhow::Result<u8> {
    let client = Client::new(config::socket(Some(target))?);
    // The service reads the usual file, and has nothing to do with another one.
    let (started, command) = match target == Path::new(config::DEFAULT_FILE) {
        true => (service::restart().await?, "nuncio run".to_owned()),
        false => (service::Started::NoService, format!("nuncio run --config {}", target.display())),
    };
    match started {
        service::Started::Yes => {}
        service::Started::NoService => {
            print(&format!("No service runs with this file. Start the gateway with: {command}"));
            return Ok(code::OK);
        }
    }
    let first = tokio::time::timeout(FIRST_DEVICE, await_first(&client, answers.with_device)).await;
    let Ok(list) = first else {
        print("No device is registered yet; the log says why: journalctl -u nuncio");
        return devices::devices(client, false).await.map(|_| code::FAILED);
    };
    devices::render(&list?);
    if answers.page != PageFor::Off {
        show_page(&client).await?;
    }
    print("`nuncio devices` lists what is here, `nuncio check` says what could be better.");
    Ok(code::OK)
}

/// Until the daemon answers and, where a board is there, one device is registered everywhere.
async fn await_first(client: &Client, with_device: bool) -> anyhow::Result<DeviceList> {
    print_aside("Waiting for the gateway ...");
    loop {
        match client.devices().await {
            Ok(list) if !with_device || list.devices.iter().any(devices::is_registered) => return Ok(list),
            Ok(_) | Err(ClientError::NotRunning { .. } | ClientError::HungUp) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn show_page(client: &Client) -> anyhow::Result<()> {
    let order = TokenOrder::Add { name: None, role: Role::Operator, lifetime_s: Some(FIRST_LOOK_S) };
    let report = client.tokens(order).await?;
    let (Some(page), Some(token)) = (report.page, report.token) else { bail!("the page is nowhere") };
    print(&format!("The page, for the next 12 hours (`nuncio login` prints a new link):\n  {page}/login#{token}"));
    Ok(())
}
