// SPDX-License-Identifier: GPL-2.0-only

//! The driver as xenbus sees it.
//!
//! xenbus calls [`probe`](xenbus::Driver::probe), then `otherend_changed` whenever the back end's state
//! changes, `resume` after the domain was restored, and `remove`.

use kernel::{
    debugfs::{Dir, File},
    device::Core,
    prelude::*,
    str::CString,
    sync::{atomic::Atomic, Arc},
};
use portico::{
    work::Delayed,
    xenbus::{self, Device, State},
};
use portico_core::xenbus::Step;

use crate::{
    front::{wait, Front, Shown, FINISH_MS, LET_GO_MS, PURGE_MS},
    ring::Link,
    stats::StatsFile,
    works::{Add, Attend, GiveUp, Purge},
};

/// What xenbus keeps of a device.
#[pin_data]
pub(crate) struct Blkfront {
    #[pin]
    _stats: File<StatsFile>,
    #[pin]
    add: Delayed<Add>,
    #[pin]
    purge: Delayed<Purge>,
    #[pin]
    give_up: Delayed<GiveUp>,
    attend: Arc<Delayed<Attend>>,
    front: Arc<Front>,
}

impl Blkfront {
    fn new(front: Arc<Front>) -> Result<impl PinInit<Self, Error>> {
        let name = CString::try_from_fmt(fmt!("xen-blkfront-{}", front.dev.name()))?;
        let attend = Arc::pin_init(
            Delayed::new(Arc::new(Attend(front.clone()), GFP_KERNEL)?),
            GFP_KERNEL,
        )?;
        let add = Arc::new(Add(front.clone()), GFP_KERNEL)?;
        let purge = Arc::new(Purge(front.clone()), GFP_KERNEL)?;
        let give_up = GiveUp {
            front: front.clone(),
            answered: Atomic::new(u64::MAX),
        };
        let give_up = Arc::new(give_up, GFP_KERNEL)?;
        let stats = StatsFile(front.clone());
        Ok(try_pin_init!(Self {
            _stats <- Dir::new(&name).read_only_file(c"stats", stats),
            add <- Delayed::new(add),
            purge <- Delayed::new(purge),
            give_up <- Delayed::new(give_up),
            attend,
            front,
        }? Error))
    }
}

impl xenbus::Driver for Blkfront {
    const TYPES: &'static [&'static str] = &["vbd"];
    type Data = Self;

    fn probe(dev: &Device<Core<'_>>) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || Self::new(Front::new(dev)?))
    }

    fn otherend_changed(dev: &Device<Core<'_>>, this: Pin<&Self>, state: State) {
        let front = &this.front;
        let step = Step::next(dev.state(), state);
        let done = match step {
            Step::Wait => Ok(()),
            Step::SetUp => front.set_up(dev),
            Step::Connect => {
                let ready = match dev.state() {
                    State::Initialising => front.set_up(dev),
                    _ => Ok(()),
                };
                ready.and_then(|()| {
                    front.connect(dev, &this.attend, &this.add)?;
                    this.purge.schedule(PURGE_MS);
                    Ok(())
                })
            }
            Step::Update => front.update(dev).or(Ok(())),
            Step::Close => {
                front.finish();
                dev.closed();
                Ok(())
            }
        };
        if let Err(error) = done {
            dev.fatal(error, format_args!("{}: cannot be connected", front.vdev));
            // After a resume requests wait for this.
            front.rings().iter().for_each(|ring| {
                ring.close();
                ring.fail();
            });
        }
    }

    fn resume(_dev: &Device<Core<'_>>, this: Pin<&Self>) -> Result {
        // The requests come back when the disk is connected again.
        this.front.tear_down(|| Link::Down, true);
        Ok(())
    }

    fn remove(dev: &Device<Core<'_>>, this: Pin<&Self>) {
        let front = &this.front;
        if dev.state() == State::Connected {
            // The driver goes, not the disk: what file systems and caches hold is written before.
            this.give_up.schedule(FINISH_MS);
            front.remove_disk();
            this.give_up.cancel();
        }
        front.finish();
        if dev.state() != State::Closed {
            dev.closed();
        }
        // What it has mapped cannot be freed before it lets go; it does when it sees the state.
        wait(LET_GO_MS, || {
            matches!(dev.otherend_state(), State::Closed | State::Unknown)
        });
        front.tear_down(|| Link::Gone, false);
        this.purge.cancel();
        this.attend.cancel();
        // It may be reading the partition table; every read fails now.
        this.add.cancel();
        let shown = core::mem::replace(&mut front.connection.lock().shown, Shown::Gone);
        drop(shown);
    }

    fn is_ready(this: Pin<&Self>) -> bool {
        matches!(this.front.connection.lock().shown, Shown::Disk(_))
    }
}
