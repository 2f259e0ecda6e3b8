// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device states and the hand-shake of a front end (`xen/include/public/io/xenbus.h`), and the values
//! of the store's keys as a front end believes them.

use core::fmt;

/// `enum xenbus_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No state, or one that the protocol does not know.
    Unknown = 0,
    /// The driver starts.
    Initialising = 1,
    /// The back end waits for the front end's keys.
    InitWait = 2,
    /// The keys are written; the other side has not connected yet.
    Initialised = 3,
    /// The device works.
    Connected = 4,
    /// The device goes away.
    Closing = 5,
    /// The device is gone.
    Closed = 6,
    /// The device is changed while it works.
    Reconfiguring = 7,
    /// The change is made.
    Reconfigured = 8,
}

impl From<u64> for State {
    /// What the store holds may be anything: a number that is no state is [`State::Unknown`].
    fn from(value: u64) -> Self {
        match value {
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }
}

/// What a front end does when the back end's state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Make rings, write the keys, become [`State::Initialised`].
    SetUp,
    /// Make rings and write the keys if that has not been done, read what the back end says, become
    /// [`State::Connected`].
    Connect,
    /// Read again what may have changed: the back end is connected and so is this side.
    Update,
    /// Let go of the device and become [`State::Closed`].
    Close,
}

impl Step {
    /// From the front end's own state and the back end's new one.
    pub fn next(own: State, peer: State) -> Self {
        use State::*;
        match (own, peer) {
            (Closed, _) => Self::Wait,
            // What an earlier connection left: a back end that sees this end start anew starts, too.
            (Initialising, Closed) => Self::Wait,
            (_, Closing | Closed) => Self::Close,
            (Initialising, InitWait) => Self::SetUp,
            (Initialising | Initialised, Connected) => Self::Connect,
            (Connected, Connected) => Self::Update,
            _ => Self::Wait,
        }
    }
}

/// What is wrong with a key of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not there.
    Missing,
    /// The store did not answer.
    Unreadable,
    /// It is not a decimal number below 2^64.
    NotANumber,
    /// It is not the address of one network device.
    NotAnAddress,
    /// The number makes no sense here.
    Value(u64),
}

/// A key that a front end cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The key, relative to the device.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match self.problem {
            Problem::Missing => write!(f, "there is no key {key}"),
            Problem::Unreadable => write!(f, "key {key} cannot be read"),
            Problem::NotANumber => write!(f, "key {key} is not a number"),
            Problem::NotAnAddress => write!(f, "key {key} is not the address of a network device"),
            Problem::Value(value) => {
                write!(f, "key {key} is {value}, out of range")
            }
        }
    }
}

/// The longest value that a number can have: 20 digits and some white space.
pub const NUMBER_LEN: usize = 32;

/// The keys of the other end of a device.
pub trait Keys {
    /// Copies the value of `key` to `value` as far as it fits and returns its whole length; `None` when
    /// there is no such key.
    fn read(&self, key: &str, value: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem>;

    /// A number that must be there.
    fn number(&self, key: &'static str) -> Result<u64, KeyError> {
        match optional(self, key) {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(KeyError {
                key,
                problem: Problem::Missing,
            }),
            Err(problem) => Err(KeyError { key, problem }),
        }
    }

    /// A number that has a default. A value that is no number is as good as none.
    fn number_or(&self, key: &'static str, default: u64) -> u64 {
        optional(self, key).ok().flatten().unwrap_or(default)
    }

    /// A feature: there and not 0.
    fn feature(&self, key: &'static str) -> bool {
        self.number_or(key, 0) != 0
    }
}

fn optional<K: Keys + ?Sized>(keys: &K, key: &str) -> Result<Option<u64>, Problem> {
    let mut value = [0; NUMBER_LEN];
    match keys.read(key, &mut value)? {
        None => Ok(None),
        Some(len) => match value.get(..len).and_then(parse_number) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::NotANumber),
        },
    }
}

/// A decimal number, with white space or NULs around it; nothing else.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = text.iter().position(|byte| !blank(byte))?;
    let end = text.iter().rposition(|byte| !blank(byte))?;
    let mut number = 0u64;
    for &byte in text.get(start..=end)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(byte - b'0'))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_and_bounded() {
        assert_eq!(parse_number(b"0"), Some(0));
        assert_eq!(parse_number(b" 512\n\0"), Some(512));
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            "",
            " ",
            "-1",
            "+1",
            "0x10",
            "12a",
            "1 2",
            "18446744073709551616",
        ] {
            assert_eq!(parse_number(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_closed_front_end_stays_closed_and_closing_always_wins() {
        let states = (0..=9).map(State::from);
        for peer in states.clone() {
            assert_eq!(Step::next(State::Closed, peer), Step::Wait);
        }
        for own in states.filter(|own| *own != State::Closed) {
            assert_eq!(Step::next(own, State::Closing), Step::Close);
            // Except before there is anything to close.
            let closed = match own {
                State::Initialising => Step::Wait,
                _ => Step::Close,
            };
            assert_eq!(Step::next(own, State::Closed), closed);
        }
    }

    #[test]
    fn the_usual_hand_shake() {
        use State::*;
        assert_eq!(Step::next(Initialising, Initialising), Step::Wait);
        assert_eq!(Step::next(Initialising, InitWait), Step::SetUp);
        assert_eq!(Step::next(Initialised, InitWait), Step::Wait);
        assert_eq!(Step::next(Initialised, Connected), Step::Connect);
        assert_eq!(Step::next(Connected, Connected), Step::Update);
        assert_eq!(Step::next(Connected, InitWait), Step::Wait);
    }
}
