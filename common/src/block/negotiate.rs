// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of a block device in the store.
//!
//! | when | the front end |
//! |---|---|
//! | the back end is `InitWait` | reads [`Offer`], chooses [`Shape`], makes rings, [`publish`]es |
//! | the back end is `Connected` | reads [`Disk`] and [`Ability`] |
//! | it is `Connected` again | reads [`Disk`] anew |
//!
//! A key that only adds a feature counts as absent when it makes no sense. A key that says what the
//! disk is must be right, or the device is refused.

use core::fmt;

use super::host::GrantRef;
use super::queue::Features;
use super::wire;
use crate::shared::PAGE_SIZE;
use crate::xenbus::{KeyError, Keys, Problem};

/// Rings have at most this many pages, as a power of two (`XENBUS_MAX_RING_GRANT_ORDER`).
pub const MAX_RING_PAGE_ORDER: u32 = 4;

/// Segments of one request, at most. So many still go through a ring of one page as direct requests,
/// should the disk come back from a resume with a back end that offers no more than that.
pub const MAX_INDIRECT_SEGMENTS: u32 = wire::ring_entries(1) * wire::MAX_SEGMENTS as u32;

/// Pages that one queue copies data through, at most: 16 MiB.
const MAX_POOL_PAGES: usize = 4096;

/// What whoever loads the driver asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Segments in an indirect request; up to [`wire::MAX_SEGMENTS`] means none are indirect.
    pub max_indirect_segments: u32,
    /// Rings of one device.
    pub max_queues: u32,
    /// Pages of one ring, as a power of two.
    pub max_ring_page_order: u32,
    /// Offer persistent grants.
    pub feature_persistent: bool,
    /// The back end may see whole pages, not the request's bytes alone.
    pub trusted: bool,
}

/// What the back end offers before it knows the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `max-ring-page-order`.
    pub max_ring_page_order: u64,
    /// `multi-queue-max-queues`.
    pub max_queues: u64,
}

impl Offer {
    /// Reads the back end's keys.
    pub fn read(keys: &impl Keys) -> Self {
        Self {
            max_ring_page_order: keys.number_or("max-ring-page-order", 0),
            max_queues: keys.number_or("multi-queue-max-queues", 1),
        }
    }
}

/// Number and size of the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rings, 1 or more.
    pub queues: u32,
    /// Pages of each ring, as a power of two; at most [`MAX_RING_PAGE_ORDER`].
    pub ring_page_order: u32,
}

impl Shape {
    /// As much as all three allow; `cpus` is how many processors may submit.
    pub fn choose(params: &Params, offer: Offer, cpus: u32) -> Self {
        let limit = u64::from(params.max_queues.min(cpus));
        let order = u64::from(params.max_ring_page_order.min(MAX_RING_PAGE_ORDER));
        Self {
            // Both fit, being at most a u32.
            queues: offer.max_queues.min(limit).max(1) as u32,
            ring_page_order: offer.max_ring_page_order.min(order) as u32,
        }
    }

    /// Entries of one ring.
    pub fn entries(self) -> u32 {
        wire::ring_entries(1 << self.ring_page_order.min(MAX_RING_PAGE_ORDER))
    }
}

/// One ring, as the back end is told of it.
#[derive(Clone, Copy, Debug)]
pub struct RingKeys<'a> {
    /// The grants of its pages, in order.
    pub grefs: &'a [GrantRef],
    /// The event channel.
    pub port: u32,
}

/// Writes the front end's keys with `put`, in the flat layout for one ring, else in one folder for
/// each.
pub fn publish<'a, E>(
    params: &Params,
    shape: Shape,
    rings: impl Iterator<Item = RingKeys<'a>>,
    mut put: impl FnMut(fmt::Arguments<'_>, fmt::Arguments<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if shape.ring_page_order > 0 {
        put(
            format_args!("ring-page-order"),
            format_args!("{}", shape.ring_page_order),
        )?;
    }
    if shape.queues > 1 {
        put(
            format_args!("multi-queue-num-queues"),
            format_args!("{}", shape.queues),
        )?;
    }
    for (index, ring) in rings.enumerate() {
        let folder = Folder(if shape.queues > 1 { Some(index) } else { None });
        for (page, gref) in ring.grefs.iter().enumerate() {
            if shape.ring_page_order == 0 {
                put(format_args!("{folder}ring-ref"), format_args!("{gref}"))?;
            } else {
                put(
                    format_args!("{folder}ring-ref{page}"),
                    format_args!("{gref}"),
                )?;
            }
        }
        put(
            format_args!("{folder}event-channel"),
            format_args!("{}", ring.port),
        )?;
    }
    put(format_args!("protocol"), format_args!("{}", wire::PROTOCOL))?;
    put(
        format_args!("feature-persistent"),
        format_args!("{}", u8::from(params.feature_persistent)),
    )
}

/// The folder of a queue's keys, with its slash; empty in the flat layout.
struct Folder(Option<usize>);

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "queue-{index}/"),
            None => Ok(()),
        }
    }
}

/// What the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Logical sector size in bytes: a power of two, 512 to a page.
    pub sector_size: u32,
    /// Physical sector size in bytes: a power of two, at least the logical one.
    pub physical_sector_size: u32,
    /// `VDISK_CDROM`.
    pub cdrom: bool,
    /// `VDISK_REMOVABLE`.
    pub removable: bool,
    /// `VDISK_READONLY`.
    pub read_only: bool,
}

/// Length of the longest disk: its bytes fit a signed 64-bit offset.
const MAX_SECTORS: u64 = i64::MAX as u64 / wire::SECTOR_SIZE as u64;
const MAX_PHYSICAL_SECTOR_SIZE: u64 = 1 << 20;

impl Disk {
    /// Reads the back end's keys.
    pub fn read(keys: &impl Keys) -> Result<Self, KeyError> {
        let refuse = |key, value| {
            Err(KeyError {
                key,
                problem: Problem::Value(value),
            })
        };
        let sectors = keys.number("sectors")?;
        if sectors > MAX_SECTORS {
            return refuse("sectors", sectors);
        }
        let sector_size = keys.number("sector-size")?;
        if !(512..=PAGE_SIZE as u64).contains(&sector_size) || !sector_size.is_power_of_two() {
            return refuse("sector-size", sector_size);
        }
        let info = keys.number("info")?;
        let Ok(info) = u32::try_from(info) else {
            return refuse("info", info);
        };
        let physical = keys.number_or("physical-sector-size", sector_size);
        let fits = physical.is_power_of_two()
            && (sector_size..=MAX_PHYSICAL_SECTOR_SIZE).contains(&physical);
        Ok(Self {
            sectors,
            sector_size: sector_size as u32,
            physical_sector_size: if fits { physical } else { sector_size } as u32,
            cdrom: info & wire::VDISK_CDROM != 0,
            removable: info & wire::VDISK_REMOVABLE != 0,
            read_only: info & wire::VDISK_READONLY != 0,
        })
    }
}

/// What the back end can do, once it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ability {
    /// Flush, barrier, discard.
    pub features: Features,
    /// Both ends have `feature-persistent`.
    pub persistent: bool,
    /// Segments in one ring request.
    pub max_segments: u32,
    /// `discard-granularity` in bytes; 0: the physical sector.
    pub discard_granularity: u32,
    /// `discard-alignment` in bytes.
    pub discard_alignment: u32,
}

impl Ability {
    /// Reads the back end's keys.
    pub fn read(keys: &impl Keys, params: &Params) -> Self {
        let direct = wire::MAX_SEGMENTS as u64;
        let wanted = u64::from(params.max_indirect_segments.min(MAX_INDIRECT_SEGMENTS));
        let indirect = keys
            .number_or("feature-max-indirect-segments", 0)
            .min(wanted);
        let discard = keys.feature("feature-discard");
        let bytes = |key| u32::try_from(keys.number_or(key, 0)).unwrap_or(0);
        Self {
            features: Features {
                flush: keys.feature("feature-flush-cache"),
                barrier: keys.feature("feature-barrier"),
                discard,
                secure: discard && keys.feature("discard-secure"),
            },
            persistent: params.feature_persistent && keys.feature("feature-persistent"),
            max_segments: if indirect > direct { indirect } else { direct } as u32,
            discard_granularity: bytes("discard-granularity"),
            discard_alignment: bytes("discard-alignment"),
        }
    }

    /// Pages that a queue of `entries` copies through, when it copies: enough for every entry to carry
    /// its most, within [`MAX_POOL_PAGES`].
    pub fn pool_pages(&self, entries: u32) -> usize {
        let segments = self.max_segments as usize;
        (entries as usize)
            .saturating_mul(segments)
            .min(MAX_POOL_PAGES)
            .max(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenbus::NUMBER_LEN;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    struct Store(Vec<(&'static str, String)>);

    impl Store {
        fn disk() -> Self {
            Self(Vec::new())
                .with("sectors", 2048)
                .with("sector-size", 512)
                .with("info", 0)
        }

        fn with(mut self, key: &'static str, value: impl ToString) -> Self {
            self.0.retain(|(name, _)| *name != key);
            self.0.push((key, value.to_string()));
            self
        }

        fn without(mut self, key: &str) -> Self {
            self.0.retain(|(name, _)| *name != key);
            self
        }
    }

    impl Keys for Store {
        fn read(&self, key: &str, buf: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem> {
            let Some((_, value)) = self.0.iter().find(|(name, _)| *name == key) else {
                return Ok(None);
            };
            let len = value.len().min(NUMBER_LEN);
            buf[..len].copy_from_slice(&value.as_bytes()[..len]);
            Ok(Some(value.len()))
        }
    }

    const PARAMS: Params = Params {
        max_indirect_segments: 32,
        max_queues: 4,
        max_ring_page_order: 4,
        feature_persistent: true,
        trusted: true,
    };

    #[test]
    fn a_disk_that_makes_no_sense_is_refused() {
        assert!(Disk::read(&Store::disk()).is_ok());
        for key in ["sectors", "sector-size", "info"] {
            let error = Disk::read(&Store::disk().without(key)).unwrap_err();
            assert_eq!(
                error,
                KeyError {
                    key,
                    problem: Problem::Missing
                }
            );
            for bad in [
                "",
                "-1",
                "many",
                "0x200",
                "99999999999999999999999999999999999999",
            ] {
                let error = Disk::read(&Store::disk().with(key, bad)).unwrap_err();
                assert_eq!(
                    error,
                    KeyError {
                        key,
                        problem: Problem::NotANumber
                    },
                    "{bad}"
                );
            }
        }
        for size in [0, 3, 256, 513, 8192, 1 << 30, (1 << 32) + 512] {
            let error = Disk::read(&Store::disk().with("sector-size", size)).unwrap_err();
            assert_eq!(error.problem, Problem::Value(size));
        }
        for sectors in [1 << 63, 1 << 55, u64::MAX] {
            assert!(Disk::read(&Store::disk().with("sectors", sectors)).is_err());
        }
    }

    #[test]
    fn optional_keys_that_make_no_sense_count_as_absent() {
        let physical = |value| {
            Disk::read(&Store::disk().with("physical-sector-size", value))
                .unwrap()
                .physical_sector_size
        };
        assert_eq!(physical("4096"), 4096);
        for bad in ["0", "3", "256", "-4096", "4294967808", ""] {
            assert_eq!(physical(bad), 512, "{bad}");
        }
        let ability = |value: &str| {
            let store = Store::disk().with("feature-max-indirect-segments", value);
            Ability::read(&store, &PARAMS).max_segments
        };
        assert_eq!(ability("256"), 32);
        assert_eq!(ability("16"), 16);
        for none in ["0", "5", "-1", "no", ""] {
            assert_eq!(ability(none), 11, "{none}");
        }
    }

    #[test]
    fn absurd_offers_are_cut_to_what_was_asked_for() {
        let store = Store::disk()
            .with("multi-queue-max-queues", 1_000_000_000)
            .with("max-ring-page-order", u64::MAX);
        let shape = Shape::choose(&PARAMS, Offer::read(&store), 2);
        assert_eq!(
            shape,
            Shape {
                queues: 2,
                ring_page_order: 4
            }
        );
        assert_eq!(shape.entries(), 512);
        let store = store
            .with("multi-queue-max-queues", 0)
            .with("max-ring-page-order", "x");
        let shape = Shape::choose(&PARAMS, Offer::read(&store), 2);
        assert_eq!(
            shape,
            Shape {
                queues: 1,
                ring_page_order: 0
            }
        );
        let none = Params {
            max_queues: 0,
            ..PARAMS
        };
        assert_eq!(
            Shape::choose(
                &none,
                Offer {
                    max_queues: 9,
                    ..Offer::default()
                },
                2
            )
            .queues,
            1
        );
    }

    fn published(shape: Shape, rings: &[RingKeys<'_>]) -> Vec<String> {
        let mut keys = Vec::new();
        publish(&PARAMS, shape, rings.iter().copied(), |key, value| {
            keys.push(format!("{key}={value}"));
            Ok::<(), ()>(())
        })
        .unwrap();
        keys
    }

    #[test]
    fn keys_are_flat_for_one_ring_and_in_folders_for_more() {
        let one = [RingKeys {
            grefs: &[8],
            port: 5,
        }];
        assert_eq!(
            published(
                Shape {
                    queues: 1,
                    ring_page_order: 0
                },
                &one
            ),
            [
                "ring-ref=8",
                "event-channel=5",
                "protocol=x86_64-abi",
                "feature-persistent=1"
            ]
        );
        let two = [
            RingKeys {
                grefs: &[8, 9],
                port: 5,
            },
            RingKeys {
                grefs: &[10, 11],
                port: 6,
            },
        ];
        assert_eq!(
            published(
                Shape {
                    queues: 2,
                    ring_page_order: 1
                },
                &two
            ),
            [
                "ring-page-order=1",
                "multi-queue-num-queues=2",
                "queue-0/ring-ref0=8",
                "queue-0/ring-ref1=9",
                "queue-0/event-channel=5",
                "queue-1/ring-ref0=10",
                "queue-1/ring-ref1=11",
                "queue-1/event-channel=6",
                "protocol=x86_64-abi",
                "feature-persistent=1"
            ]
        );
    }
}
