//! Watching a running Firmata: the pins that a board file names, as they change, and written when somebody says so.
//!
//! Firmata protocol 2.5 (protocol.md of its project): pin modes `F4`, digital reports `D0`/`90`, analog reports `C0`/`E0`, one
//! pin's value `F5`, its state `F0 6D`, more than 14 bits or 16 pins by `F0 6F`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::port::Port;
use super::firmata::{Message, Parser, QUERY_FIRMWARE, QUERY_PINS};
use crate::device::{Link, PinMode, PinPoint, Point, PointOrder, PointRefused, PointValue, PointsSeen, QuestionFailed};

/// A board that says nothing of itself for so long is asked; its bootloader and its start take up to 4 s.
const ASK_AFTER: Duration = Duration::from_secs(4);
/// How long it may take to say which Firmata it is, and what its pins are.
const WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether there is something to write, or the watch is over.
const TURN: Duration = Duration::from_millis(50);
/// So often a pin is given its mode: answers that orders have asked for meanwhile still tell the former one.
const MAKES: u8 = 20;
/// How long pins get to tell what they hold at the beginning.
const FIRST_VALUES: Duration = Duration::from_millis(500);
/// Pins of one digital port.
const PINS_OF_PORT: u8 = 8;

/// What a watch talks to.
pub(in super::super) struct Ends {
    pub(in super::super) link: Link,
    pub(in super::super) seen: mpsc::Sender<(Link, PointsSeen)>,
    pub(in super::super) orders: mpsc::Receiver<PointOrder>,
    pub(in super::super) stop: CancellationToken,
}

/// Watches until it is stopped, nobody listens, or the port is gone.
pub(in super::super) fn run(path: &Path, baud: u32, pins: &[PinPoint], ends: &mut Ends) -> Result<(), QuestionFailed> {
    let (parser, received, made) = (Parser::default(), Vec::new(), BTreeMap::new());
    let mut board = Board { port: Port::open(path, baud)?, parser, received, made };
    let Some(channels) = board.meet(&ends.stop)? else { return Ok(()) };
    let mut values: BTreeMap<u8, Option<PointValue>> = BTreeMap::new();
    for point in pins {
        board.set_up(*point, &channels)?;
        values.insert(point.pin, None);
    }
    board.report(pins)?;
    let (began, mut listed) = (Instant::now(), false);
    while !ends.stop.is_cancelled() {
        while let Ok(order) = ends.orders.try_recv() {
            board.carry_out(order, pins)?;
        }
        for (pin, value) in board.news(pins, &channels)? {
            let value = Some(value);
            if values.insert(pin, value.clone()) == Some(value.clone()) || !listed {
                continue;
            }
            let news = PointsSeen::Value { key: format!("pin/{pin}"), value };
            if ends.seen.blocking_send((ends.link.clone(), news)).is_err() {
                return Ok(());
            }
        }
        if !listed && (began.elapsed() >= FIRST_VALUES || values.values().all(Option::is_some)) {
            listed = true;
            let value = |point: &PinPoint| values.get(&point.pin).cloned().flatten();
            let points = pins.iter().map(|point| Point { value: value(point), ..described(*point) }).collect();
            if ends.seen.blocking_send((ends.link.clone(), PointsSeen::All(points))).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn described(point: PinPoint) -> Point {
    let class = match point.mode {
        PinMode::Input | PinMode::Pullup => "input",
        PinMode::Output => "output",
        PinMode::Analog => "analog",
        PinMode::Pwm => "pwm",
    };
    Point {
        key: format!("pin/{}", point.pin),
        kind: "pin".to_owned(),
        class: Some(class.to_owned()),
        unit: None,
        name: None,
        writable: matches!(point.mode, PinMode::Output | PinMode::Pwm),
        value: None,
    }
}

/// An open board.
struct Board {
    port: Port,
    parser: Parser,
    received: Vec<u8>,
    /// How often outputs were given their mode.
    made: BTreeMap<u8, u8>,
}

impl Board {
    /// Waits until it says what it is, then asks which pins are analog. `None`: the watch is over.
    fn meet(&mut self, stop: &CancellationToken) -> Result<Option<Vec<u8>>, QuestionFailed> {
        let began = Instant::now();
        let mut asked = false;
        while began.elapsed() < WITHIN {
            if stop.is_cancelled() {
                return Ok(None);
            }
            if !asked && began.elapsed() >= ASK_AFTER {
                asked = true;
                self.port.write(&QUERY_FIRMWARE)?;
            }
            for message in self.messages()? {
                match message {
                    Message::Firmware { .. } => self.port.write(&QUERY_PINS)?,
                    Message::Pins(channels) => return Ok(Some(channels)),
                    _ => {}
                }
            }
        }
        Err(QuestionFailed::Failed("no Firmata answers".to_owned()))
    }

    /// What came in, waiting a turn for it.
    fn messages(&mut self) -> Result<Vec<Message>, QuestionFailed> {
        self.port.refill();
        self.port.read(&mut self.received, Instant::now() + TURN)?;
        Ok(self.received.drain(..).filter_map(|byte| self.parser.push(byte)).collect())
    }

    /// Gives a pin its mode and asks for what it holds. An output that is one already is left as it is: setting the mode again
    /// would switch it off.
    fn set_up(&mut self, point: PinPoint, channels: &[u8]) -> Result<(), QuestionFailed> {
        let PinPoint { pin, mode } = point;
        let known = usize::from(pin) < channels.len();
        if !known {
            return Err(QuestionFailed::Failed(format!("its Firmata has {} pins, and no pin {pin}", channels.len())));
        }
        match mode {
            PinMode::Input | PinMode::Pullup => {
                self.port.write(&[0xF4, pin, if mode == PinMode::Pullup { 0x0B } else { 0x00 }])
            }
            PinMode::Analog => {
                let channel = channels[usize::from(pin)];
                if channel > 0x0F {
                    return Err(QuestionFailed::Failed(format!("pin {pin} is no analog one")));
                }
                self.port.write(&[0xF4, pin, 0x02])?;
                self.port.write(&[0xC0 | channel, 1])
            }
            PinMode::Output | PinMode::Pwm => self.port.write(&[0xF0, 0x6D, pin, 0xF7]),
        }
    }

    /// Has each port with inputs report. A board does so at once, and of the pins that are inputs by then: it comes after all
    /// modes.
    fn report(&mut self, pins: &[PinPoint]) -> Result<(), QuestionFailed> {
        let inputs = pins.iter().filter(|point| matches!(point.mode, PinMode::Input | PinMode::Pullup));
        let ports: BTreeSet<u8> = inputs.map(|point| (point.pin / PINS_OF_PORT) & 0x0F).collect();
        ports.into_iter().try_for_each(|port| self.port.write(&[0xD0 | port, 1]))
    }

    fn carry_out(&mut self, order: PointOrder, pins: &[PinPoint]) -> Result<(), QuestionFailed> {
        let (key, value, reply) = match order {
            PointOrder::Write { key, value, reply } => (key, value, reply),
            PointOrder::PointOut { reply } => {
                drop(reply.send(Err("its watch has no way to make it visible".to_owned())));
                return Ok(());
            }
        };
        let pin = key.strip_prefix("pin/").and_then(|pin| pin.parse().ok());
        let point = pins.iter().find(|point| Some(point.pin) == pin);
        let bytes = match (point, value) {
            (Some(&PinPoint { pin, mode: PinMode::Output }), PointValue::Flag(on)) => vec![0xF5, pin, u8::from(on)],
            (Some(&PinPoint { pin, mode: PinMode::Pwm }), PointValue::Number(level))
                if (0.0..=255.0).contains(&level) =>
            {
                let level = level.round() as u16;
                vec![0xF0, 0x6F, pin, (level & 0x7F) as u8, (level >> 7) as u8, 0xF7]
            }
            (Some(PinPoint { mode: PinMode::Pwm, .. }), _) => {
                drop(reply.send(Err(PointRefused::BadValue("expected a number from 0 to 255".to_owned()))));
                return Ok(());
            }
            _ => {
                drop(reply.send(Err(PointRefused::BadValue("this pin takes no such value".to_owned()))));
                return Ok(());
            }
        };
        let written = self.port.write(&bytes);
        // What the pin holds then is asked for, and not supposed.
        let asked = pin.map_or(Ok(()), |pin| self.port.write(&[0xF0, 0x6D, pin, 0xF7]));
        let outcome = written.and(asked);
        drop(reply.send(outcome.clone().map_err(|error| PointRefused::NotNow(error.to_string()))));
        outcome
    }

    /// What pins hold now, as far as that was told.
    fn news(&mut self, pins: &[PinPoint], channels: &[u8]) -> Result<Vec<(u8, PointValue)>, QuestionFailed> {
        let mut news = Vec::new();
        for message in self.messages()? {
            match message {
                Message::Digital { port, levels } => {
                    let of_port = pins.iter().filter(|point| point.pin / PINS_OF_PORT == port);
                    let read = of_port.filter(|point| matches!(point.mode, PinMode::Input | PinMode::Pullup));
                    news.extend(
                        read.map(|point| (point.pin, PointValue::Flag(levels >> (point.pin % PINS_OF_PORT) & 1 == 1))),
                    );
                }
                Message::Analog { channel, level } => {
                    let mut read = pins.iter().filter(|point| point.mode == PinMode::Analog);
                    let pin = read.find(|point| channels.get(usize::from(point.pin)) == Some(&channel));
                    news.extend(pin.map(|point| (point.pin, PointValue::Number(f64::from(level)))));
                }
                Message::State { pin, mode, value } => {
                    let Some(point) = pins.iter().find(|point| point.pin == pin) else { continue };
                    match (point.mode, mode) {
                        (PinMode::Output, 0x01) => news.push((pin, PointValue::Flag(value != 0))),
                        (PinMode::Pwm, 0x03) => news.push((pin, PointValue::Number(f64::from(value)))),
                        (PinMode::Output, _) => self.make(pin, 0x01)?,
                        (PinMode::Pwm, _) => self.make(pin, 0x03)?,
                        _ => {}
                    }
                }
                Message::Firmware { .. } => {
                    return Err(QuestionFailed::Failed("the board has started anew".to_owned()));
                }
                Message::Pins(_) => {}
            }
        }
        Ok(news)
    }

    /// Gives an output its mode, and asks what it holds then. A pin that has another one afterwards does not take it.
    fn make(&mut self, pin: u8, mode: u8) -> Result<(), QuestionFailed> {
        let made = self.made.entry(pin).or_default();
        *made += 1;
        if *made > MAKES {
            let kind = if mode == 0x03 { "pwm" } else { "output" };
            return Err(QuestionFailed::Failed(format!("pin {pin} does not become `{kind}`")));
        }
        self.port.write(&[0xF4, pin, mode, 0xF0, 0x6D, pin, 0xF7])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_can_be() {
        let writable = |mode| described(PinPoint { pin: 3, mode }).writable;
        assert!(writable(PinMode::Output) && writable(PinMode::Pwm));
        assert!(!writable(PinMode::Input) && !writable(PinMode::Pullup) && !writable(PinMode::Analog));
    }
}
