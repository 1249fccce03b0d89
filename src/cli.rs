//! The command line: one file per subcommand, speaking only the control API's types.
//!
//! `--version`, `--help` and `check` start no runtime; the daemon's clients run on one thread; only `run` starts more.
//! Exit codes are part of the interface ([`code`]).

mod backup;
mod brake;
mod builtin;
mod bundle;
mod check;
mod devices;
mod events;
mod flash;
mod history;
mod join;
mod limits;
mod logging;
mod moment;
mod output;
mod pages;
mod passphrase;
mod plan;
mod points;
mod report;
mod run;
mod setup;
mod show;
mod status;
mod tape;
mod token;
mod which;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nuncio::config::{self, Config};
use nuncio::control::{CheckItem, Client, Ending, JoinOrder, Lifecycle};
use nuncio::device::BoardId;

/// What the program ends with.
pub(crate) mod code {
    /// All is well.
    pub(crate) const OK: u8 = 0;
    /// It failed: the update was not proven, `check` found an error, the daemon refused.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong arguments, or a mistake in the configuration. (Also clap's own.)
    pub(crate) const USAGE: u8 = 2;
    /// The daemon cannot be reached.
    pub(crate) const UNREACHABLE: u8 = 3;
    /// There is no such device, or no such update.
    pub(crate) const NO_SUCH_DEVICE: u8 = 4;
    /// Not now: another update is under way, or the board has no tool.
    pub(crate) const NOT_NOW: u8 = 5;
    /// `flash` was left by Ctrl-C while the daemon goes on flashing.
    pub(crate) const DETACHED: u8 = 6;
    /// `flash`, `backup` or `restore` was cancelled by Ctrl-C, as shells count it.
    pub(crate) const CANCELLED: u8 = 130;
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    it failed: update not proven, `check` found an error, request refused
  2    wrong arguments, or a mistake in the configuration
  3    the daemon cannot be reached
  4    there is no such device, or no such update
  5    not now: another update is under way, or the board cannot be updated
  6    `flash` was left by Ctrl-C, and the daemon goes on flashing
  130  cancelled by Ctrl-C: nothing was flashed, written or changed";

const EXAMPLES: &str = "\
Examples:
  nuncio setup                       the first thing after the installation
  nuncio check                       is everything in order, before the first start?
  nuncio run                         the daemon, in the foreground (systemd does this)
  nuncio devices                     what is there
  nuncio status press-3              its servers, versions and update
  nuncio why press-3                 why it is taken for the board it is taken for
  nuncio plan press-3 blink.hex      what an update would do, without doing any of it
  nuncio flash press-3 blink.hex     update it from here, with the same checks and proof
  nuncio who /dev/ttyUSB0            who has this port
  nuncio identify press-3            which board is it? it blinks
  nuncio approve ble:F0:F1:F2:F3:F4:05   let a found device join
  nuncio login                       a link to the page
  nuncio brake                       which images are held back
  nuncio rollback press-3            put the last good image back
  nuncio history press-3             what was done to it, also by servers
  nuncio backup /mnt/pi.nuncio       all that this gateway is, in one file
  nuncio report trouble.tar.gz       all that a bug report needs, without secrets
  nuncio status --json               for programs; the schemas are in docs/schema/";

/// Makes boards that cannot speak LwM2M into LwM2M clients of several Device Management servers, and updates their
/// firmware with proof.
#[derive(Debug, Parser)]
#[command(name = "nuncio", version, max_term_width = 100, after_help = "More, with examples and exit codes: nuncio --help",
          after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Arguments {
    /// Configuration file, instead of /etc/nuncio/nuncio.toml (which need not exist)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    ///
    /// SIGTERM or SIGINT ends it: devices leave their servers, and a running flash is finished first; a second one ends
    /// it at once. SIGHUP has boards, tools, keys and log level read again. Under systemd (Type=notify) it tells
    /// when it is up and feeds the watchdog.
    Run {
        /// Log filter, e.g. `debug` or `info,nuncio::transports=trace`; wins over RUST_LOG and the configuration
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
    },
    /// List the devices, and ports that cannot be used
    Devices(Asking),
    /// Show the servers, and one device or all: registrations, versions, update
    Status {
        /// Name, endpoint name or link of a device
        device: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Update a device from here, with the same checks, journal and proof as a server's update
    ///
    /// Ctrl-C cancels the update as long as nothing was flashed; once the flash tool runs it is left to finish, and
    /// `nuncio status DEVICE` tells how it went.
    #[command(after_long_help = "\
Examples:
  nuncio flash press-3 blink.hex
  nuncio flash press-3 ./build/app.bin --expect-version 1.4.2
  nuncio flash press-3 blink.hex --json    one JSON object per line, the last one with the verdict")]
    Flash {
        #[command(flatten)]
        wish: Wish,
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell what an update would do, without doing any of it: checks, commands, what is overwritten, proof, way back
    ///
    /// The daemon looks at the image with all that it would look at in an update. No port is opened and nothing is kept. Exit
    /// code 0: the update would be carried out, at once or later; 1: it would not.
    #[command(after_long_help = "\
Examples:
  nuncio plan press-3 blink.hex
  nuncio plan press-3 ./build/app.bin --expect-version 1.4.2
  nuncio plan press-3 blink.hex --json     docs/schema/plan-1.json")]
    Plan {
        #[command(flatten)]
        wish: Wish,
        #[command(flatten)]
        asking: Asking,
    },
    /// Put the last good image back on a device: the one that proved itself before, or what the board held at first
    ///
    /// What is staged for the device makes room. `nuncio status DEVICE` tells which image that is. It is flashed and
    /// proven like any other.
    #[command(after_long_help = "\
Examples:
  nuncio rollback press-3
  nuncio rollback press-3 --json    one JSON object per line, the last one with the verdict")]
    Rollback {
        /// Name, endpoint name or link of the device
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show which images are held back from which boards, hold one back, or let it go
    ///
    /// After `[update] brake_after` failures of one image on one type of board no further board of that type gets it. What
    /// waits begins by itself once it is let go.
    #[command(after_long_help = "\
Examples:
  nuncio brake                             what is held back, and why
  nuncio brake release 3f9a1c              let images go whose SHA-256 begins so
  nuncio brake release arduino-uno         let all images for this type of board go
  nuncio brake pull arduino-uno            hold every image back from this type of board")]
    Brake {
        #[command(subcommand)]
        order: Option<BrakeCommand>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let a device join that waits for approval, or was kept out
    #[command(after_long_help = "\
Examples:
  nuncio devices                                what waits, and by which link
  nuncio approve mdns:kitchen._esphomelib._tcp")]
    Approve {
        /// Its link
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Forget a device: it leaves its servers, and its names are free
    Forget {
        /// Name or endpoint name of the device; it need not be here
        device: String,
        /// Keep it out from now on, until `nuncio approve`
        #[arg(long)]
        deny: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a device another name inside this gateway; its endpoint name stays
    Rename {
        /// Name or endpoint name of the device
        device: String,
        /// The new name: letters, digits, `.`, `_` and `-`
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Write what the transports see and say into a file, for a bug report: `nuncio replay` makes a gateway of it
    ///
    /// What is there now comes first. Values of keys that sound like secrets, and credentials in URIs, are left out; serial
    /// numbers, addresses and what boards print are not: look at the file before you send it.
    #[command(after_long_help = "\
Examples:
  nuncio record trouble.tape                until Ctrl-C
  nuncio record trouble.tape --for 5m")]
    Record {
        /// The file; it must not be there yet
        file: PathBuf,
        /// For so long, e.g. 30s or 5m
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        duration: Option<std::time::Duration>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Play a recording to a gateway of its own and list its devices; needs no daemon, no port, no radio
    ///
    /// The gateway has the configuration's boards and [[device]] entries, no servers, and a state that is thrown away.
    #[command(after_long_help = "\
Examples:
  nuncio replay trouble.tape                as slowly as it was recorded
  nuncio replay trouble.tape --at-once --json
  nuncio replay trouble.tape --log debug    why it decides as it does")]
    Replay {
        /// The file
        file: PathBuf,
        /// Do not wait between the lines
        #[arg(long)]
        at_once: bool,
        /// Log filter; without it only errors
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
        /// Print JSON (docs/schema/devices-1.json)
        #[arg(long)]
        json: bool,
    },
    /// Make a board blink, to see which one a device is
    ///
    /// Where it runs a Firmata and its board file names a light, that blinks; else the board is restarted three times, so that
    /// its boot loader's light does.
    Identify {
        /// Name, endpoint name or link of the device
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// List what a device measures and switches, with its values: what servers see as IPSO objects
    Points {
        /// Name, endpoint name or link of the device
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell who has a device's link: an update or a question of the gateway, or a program outside it
    Who {
        /// Name, endpoint name or link of a device, or a port that is none; a Bluetooth adapter, e.g. hci0; a USB hub, e.g. usb:1-2
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Print what happens in the gateway, a line each, until Ctrl-C
    #[command(after_long_help = "\
Examples:
  nuncio events                       devices that come and go, registrations, updates
  nuncio events press-3
  nuncio events --json                one JSON object per line, as /api/v1/events has them")]
    Events {
        /// Only what is about this device, by its name
        device: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Log in to the page: print a link that opens it, good for a time
    ///
    /// Whoever has the link can do what its role may. A browser on another machine needs an address that it can reach in
    /// `[web] listen`.
    Login {
        /// What it is good for
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: token::RoleName,
        /// For so long, e.g. 8h or 30days
        #[arg(long = "for", value_name = "TIME", default_value = "12h", value_parser = humantime::parse_duration)]
        lifetime: std::time::Duration,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the tokens of the page and the REST API, make one, or make one worthless
    #[command(after_long_help = "\
Examples:
  nuncio token                             which there are
  nuncio token add dashboard               a token that may only read
  nuncio token add ci --role operator --for 90days
  nuncio token revoke ci
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/v1/devices")]
    Token {
        #[command(subcommand)]
        order: Option<token::TokenCommand>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell why a device is taken for the board it is taken for: what matched, what was excluded, what was not asked
    Why {
        /// Name, endpoint name or link of a device, or a port that is none
        device: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the updates that were, newest first: when, who, from which version to which, how they ended
    History {
        #[command(flatten)]
        query: history::Query,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show all that is kept of one update: each attempt with its command, reason and output
    #[command(after_long_help = "\
Examples:
  nuncio show 5c1f09ae
  nuncio show 5c1f09ae --output            all that the tools printed
  nuncio show 5c1f09ae --export update.json")]
    Show {
        #[command(flatten)]
        query: show::Query,
        #[command(flatten)]
        asking: Asking,
    },
    /// Tell what the built-in server knows: who is registered there, what they told it, and which images are offered
    Builtin(Asking),
    /// Set the gateway up: find what is plugged in, ask for the server, write the configuration, start, show the first device
    ///
    /// After the installation this is all that is needed. A configuration that somebody has written or changed is never touched.
    #[command(after_long_help = "\
Examples:
  sudo nuncio setup                                    asks two things
  sudo nuncio setup --builtin --page network           asks nothing
  sudo nuncio setup --server coap://dm.example.org:5683 --page local")]
    Setup(setup::Options),
    /// Write all that this gateway is into one file: names, tokens, history, images to go back to, keys, configuration
    ///
    /// The daemon goes on meanwhile. Credentials of systemd are only named in it. `nuncio restore` makes the gateway of it again,
    /// here or on another machine, and servers notice nothing. An encrypted one is a file of `age`: `age -d FILE | tar tz`.
    #[command(after_long_help = "\
Examples:
  nuncio backup /mnt/stick/pi.nuncio
  nuncio backup --encrypt pi.nuncio.age
  nuncio backup --passphrase-file /etc/nuncio/passphrase /mnt/nas/pi-$(date +%F).age     from cron")]
    Backup(backup::BackupWish),
    /// Make a gateway of a backup, on this machine or another one
    ///
    /// The daemon must not run. Nothing is changed before all of the backup was read and found right. A gateway that is here
    /// stays as it is without --force. No flash goes on that was under way or waited when the backup was made. A backup says
    /// what this gateway trusts and runs: restore only your own.
    #[command(after_long_help = "\
Examples:
  nuncio restore --verify pi.nuncio         is it whole?
  systemctl stop nuncio; nuncio restore pi.nuncio; systemctl start nuncio
  nuncio restore pi.nuncio.age --force      in place of what is here, which is kept aside
  nuncio --config /srv/n/nuncio.toml restore pi.nuncio --state /srv/n/state")]
    Restore(backup::RestoreWish),
    /// Put all that a bug report needs into one file, without secrets; needs no daemon
    ///
    /// Versions, what `check` finds, the configuration, devices and updates, the log, ports and drivers, and a short recording.
    /// Values of keys that sound like secrets and credentials in URIs are masked. Look at it before you send it.
    #[command(after_long_help = "\
Examples:
  nuncio report trouble.tar.gz
  nuncio report trouble.tar.gz --record 1m      plug the board in meanwhile
  tar tzf trouble.tar.gz")]
    Report(bundle::BundleWish),
    /// Check configuration, boards, tools and permissions; needs no daemon
    ///
    /// Run it as the user the daemon runs as: sudo -u nuncio nuncio check
    Check(check::Wish),
}

#[derive(Debug, Subcommand)]
enum BrakeCommand {
    /// Hold an image, or every image, back from a type of board
    Pull {
        /// Type of board, e.g. arduino-uno
        board: String,
        /// SHA-256 of the image, 64 hex digits; every image without it
        #[arg(long, value_name = "SHA256")]
        image: Option<String>,
    },
    /// Let go what is held back
    Release {
        /// Type of board, or at least six digits of an image's SHA-256; everything without it
        what: Option<String>,
    },
}

/// An update that an operator wants.
#[derive(Debug, Args)]
struct Wish {
    /// Name, endpoint name or link of the device
    device: String,
    /// The image: Intel HEX, ELF, ESP image, as the board takes it
    image: PathBuf,
    /// The version that the new program must report; default: what the image itself says
    #[arg(long, value_name = "VERSION")]
    expect_version: Option<String>,
    /// Begin also outside the maintenance window
    #[arg(long)]
    now: bool,
}

impl Wish {
    fn order(self) -> anyhow::Result<flash::Order> {
        flash::Order::new(self.device, &self.image, self.expect_version, self.now)
    }
}

/// Options of what is asked of the daemon.
#[derive(Debug, Args)]
struct Asking {
    /// Print JSON; the schemas are in docs/schema/
    #[arg(long, global = true)]
    json: bool,
    /// Control socket of the daemon, instead of the configuration's
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// The boards that can be flashed, and their names for people.
type Boards = fn(&Config) -> Vec<(BoardId, String)>;

/// Runs the program: `boards` tells what can be named in a setup, `gateway` is the daemon's inside, `checks` what the other modules add to `nuncio check`.
pub(crate) fn main<F, G>(gateway: G, checks: fn(&Config) -> Vec<CheckItem>, boards: Boards) -> ExitCode
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    if let Some(folder) = pages::asked_for(std::env::args_os()) {
        return ExitCode::from(pages::write(&folder).unwrap_or_else(|error| report::report(&error, false)));
    }
    let arguments = Arguments::parse();
    let json = arguments.command.wants_json();
    let outcome = dispatch(arguments, gateway, checks, boards);
    ExitCode::from(outcome.unwrap_or_else(|error| report::report(&error, json)))
}

impl Command {
    fn wants_json(&self) -> bool {
        match self {
            Self::Run { .. } | Self::Setup(_) => false,
            Self::Devices(asking) | Self::Builtin(asking) => asking.json,
            Self::Status { asking, .. }
            | Self::Flash { asking, .. }
            | Self::Plan { asking, .. }
            | Self::Rollback { asking, .. }
            | Self::Brake { asking, .. }
            | Self::Approve { asking, .. }
            | Self::Forget { asking, .. }
            | Self::Rename { asking, .. }
            | Self::Points { asking, .. }
            | Self::Who { asking, .. }
            | Self::Identify { asking, .. }
            | Self::Why { asking, .. } => asking.json,
            Self::History { asking, .. } | Self::Show { asking, .. } => asking.json,
            Self::Record { asking, .. } => asking.json,
            Self::Events { asking, .. } | Self::Login { asking, .. } | Self::Token { asking, .. } => asking.json,
            Self::Check(wish) => wish.json,
            Self::Replay { json, .. } => *json,
            Self::Backup(wish) => wish.json,
            Self::Restore(wish) => wish.json,
            Self::Report(wish) => wish.asking.json,
        }
    }
}

fn dispatch<F, G>(
    arguments: Arguments,
    gateway: G,
    checks: fn(&Config) -> Vec<CheckItem>,
    boards: Boards,
) -> anyhow::Result<u8>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    let chosen = arguments.config.as_deref();
    let client = |asking: &Asking| -> anyhow::Result<Client> {
        let socket = asking.socket.clone().map_or_else(|| config::socket(chosen), Ok)?;
        Ok(Client::new(socket))
    };
    match arguments.command {
        Command::Run { log } => run::run(config::load(chosen)?, log, gateway),
        Command::Setup(options) => setup::setup(chosen, options, boards, gateway),
        Command::Check(wish) => check::check(&config::load(chosen), checks, &wish),
        Command::Backup(wish) => ask(backup::backup(config::load(chosen)?, wish)),
        Command::Restore(wish) => ask(backup::restore(chosen, wish)),
        Command::Report(wish) => ask(bundle::bundle(chosen, checks, wish)),
        Command::Devices(asking) => ask(devices::devices(client(&asking)?, asking.json)),
        Command::Status { device, asking } => ask(status::status(client(&asking)?, device, asking.json)),
        Command::Builtin(asking) => ask(builtin::builtin(client(&asking)?, asking.json)),
        Command::History { query, asking } => ask(history::history(client(&asking)?, query, asking.json)),
        Command::Show { query, asking } => ask(show::show(client(&asking)?, query, asking.json)),
        Command::Why { device, asking } => ask(why::why(client(&asking)?, device, asking.json)),
        Command::Approve { device, asking } => {
            ask(join::join(client(&asking)?, JoinOrder::Approve { device }, asking.json))
        }
        Command::Forget { device, deny, asking } => {
            ask(join::join(client(&asking)?, JoinOrder::Forget { device, deny }, asking.json))
        }
        Command::Rename { device, name, asking } => {
            ask(join::join(client(&asking)?, JoinOrder::Rename { device, name }, asking.json))
        }
        Command::Record { file, duration, asking } => ask(tape::record(client(&asking)?, &file, duration)),
        Command::Replay { file, at_once, log, json } => {
            let lines = tape::read(&file)?;
            tape::replay(config::load(chosen)?, lines, &tape::How { at_once, json, log }, gateway)
        }
        Command::Identify { device, asking } => ask(which::identify(client(&asking)?, device, asking.json)),
        Command::Points { device, asking } => ask(points::points(client(&asking)?, device, asking.json)),
        Command::Who { device, asking } => ask(which::who(client(&asking)?, device, asking.json)),
        Command::Events { device, asking } => ask(events::events(client(&asking)?, device, asking.json)),
        Command::Login { role, lifetime, asking } => ask(token::login(client(&asking)?, role, lifetime, asking.json)),
        Command::Token { order, asking } => ask(token::token(client(&asking)?, order, asking.json)),
        Command::Brake { order, asking } => ask(brake::brake(client(&asking)?, order, asking.json)),
        Command::Rollback { device, asking } => ask(flash::rollback(client(&asking)?, device, asking.json)),
        Command::Flash { wish, asking } => ask(flash::flash(client(&asking)?, wish.order()?, asking.json)),
        Command::Plan { wish, asking } => ask(plan::plan(client(&asking)?, wish.order()?, asking.json)),
    }
}

/// One thread is enough to ask a daemon.
fn ask(question: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(question)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
