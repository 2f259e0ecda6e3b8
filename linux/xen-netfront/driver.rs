// SPDX-License-Identifier: GPL-2.0-only

//! The driver as xenbus sees it.
//!
//! xenbus calls [`probe`](xenbus::Driver::probe), then `otherend_changed` whenever the back end's state
//! changes, `resume` after the domain was restored, and `remove`.

use kernel::{device::Core, prelude::*, sync::Arc};
use portico::{
    work::Delayed,
    xenbus::{self, Device, State},
};
use portico_core::xenbus::Step;

use crate::{
    front::Front,
    works::{Again, Attend},
};

/// What xenbus keeps of a device.
pub(crate) struct Netfront {
    attend: Arc<Delayed<Attend>>,
    again: Arc<Delayed<Again>>,
    front: Arc<Front>,
}

impl Netfront {
    fn new(dev: &Device<Core<'_>>) -> Result<Self> {
        let front = Front::new(dev)?;
        let attend = Arc::new(Attend(front.clone()), GFP_KERNEL)?;
        let again = Arc::new(Again(front.net.clone()), GFP_KERNEL)?;
        Ok(Self {
            attend: Arc::pin_init(Delayed::new(attend), GFP_KERNEL)?,
            again: Arc::pin_init(Delayed::new(again), GFP_KERNEL)?,
            front,
        })
    }
}

impl xenbus::Driver for Netfront {
    const TYPES: &'static [&'static str] = &["vif"];
    type Data = Self;

    fn probe(dev: &Device<Core<'_>>) -> impl PinInit<Self, Error> {
        Self::new(dev)
    }

    fn otherend_changed(dev: &Device<Core<'_>>, this: Pin<&Self>, state: State) {
        let front = &this.front;
        match Step::next(dev.state(), state) {
            Step::Wait => {}
            Step::SetUp | Step::Connect => {
                if let Err(error) = front.connect(dev, &this.attend, &this.again) {
                    front.tear_down();
                    dev.fatal(error, format_args!("cannot be connected"));
                }
            }
            Step::Update => front.connected(dev),
            Step::Close => {
                front.give_up();
                front.withdraw(dev);
                dev.closed();
            }
        }
    }

    fn resume(_dev: &Device<Core<'_>>, this: Pin<&Self>) -> Result {
        this.front.tear_down();
        Ok(())
    }

    fn remove(dev: &Device<Core<'_>>, this: Pin<&Self>) {
        let front = &this.front;
        front.give_up();
        front.close(dev);
        front.tear_down();
        front.unregister();
        this.attend.cancel();
        this.again.cancel();
    }
}
