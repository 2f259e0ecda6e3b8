// SPDX-License-Identifier: GPL-2.0-only

//! One device: its hand-shake, its connection, its life and death.
//!
//! The disk is shown by a [work](crate::works::Add) of its own: that reads the partition table, and a back
//! end that does not answer must not hold up xenbus.

use kernel::{
    cpu::nr_cpu_ids,
    device::Core,
    new_mutex,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use portico::{
    block::{Batch, GenDisk, Limits, NewDisk, Numbers, TagSet, TagSetSetup},
    event::Channel,
    grant::RingPages,
    host::Host,
    memory::NoIo,
    work::Delayed,
    xen,
    xenbus::{Device, State},
};
use portico_core::{
    block::{
        negotiate::{self, Ability, Disk, Offer, Params, RingKeys, Shape},
        vdev::{Scheme, Vdev},
        Features, Queue, Ring as CoreRing, Setup,
    },
    xenbus::parse_number,
};

use crate::{
    disk::{set_features, set_limits, DiskData},
    params,
    ring::{Blk, Link, Listener, Live, Ring},
    works::{Add, Attend},
    XENVBD_MAJOR,
};

/// How long requests may take to finish when the device goes away, in milliseconds.
pub(crate) const FINISH_MS: u32 = 5000;
/// How long the back end may take to let go of a closed device, in milliseconds.
pub(crate) const LET_GO_MS: u32 = 2000;
/// Time between two looks, in milliseconds.
const LOOK_MS: u32 = 10;
/// The longest serial number, in bytes.
const SERIAL_LEN: usize = 64;
/// Time between two purges of persistent grants, in milliseconds.
pub(crate) const PURGE_MS: u32 = 10_000;

/// What may be seen of the disk.
pub(crate) enum Shown {
    /// Nothing: there is none yet.
    Nothing,
    /// It is made, and waits for its work.
    New(NewDisk<Blk>),
    /// Its work is at it.
    Adding,
    /// All of it.
    Disk(GenDisk<Blk>),
    /// Nothing any more.
    Gone,
}

pub(crate) struct Connection {
    params: Params,
    shape: Shape,
    /// The rings that the back end was told of, until it connects.
    told: KVec<CoreRing<RingPages>>,
    channels: KVec<Channel<Listener>>,
    pub(crate) shown: Shown,
    /// What the back end says of the disk.
    pub(crate) disk: Option<Disk>,
    /// The first of the disk's queues that is polled. What the disk has made of its queues stays, however
    /// many rings there are after a resume.
    first_polled: u32,
}

/// One device, as all that serve it see it.
#[pin_data]
pub(crate) struct Front {
    pub(crate) dev: ARef<Device>,
    pub(crate) vdev: Vdev,
    handle: u16,
    rings: KVec<Arc<Ring>>,
    #[pin]
    pub(crate) connection: Mutex<Connection>,
}

fn own_number<C: kernel::device::DeviceContext>(dev: &Device<C>, key: &str) -> Result<Option<u64>> {
    Ok(dev.read(key)?.and_then(|value| parse_number(&value)))
}

impl Front {
    pub(crate) fn new(dev: &Device<Core<'_>>) -> Result<Arc<Self>> {
        let number = match own_number(dev, "virtual-device")? {
            Some(number) => number,
            None => own_number(dev, "virtual-device-ext")?
                .ok_or(ENODEV)
                .inspect_err(|error| {
                    dev.fatal(
                        *error,
                        format_args!("no key virtual-device in {:?}", dev.nodename()),
                    );
                })?,
        };
        let Some(vdev) = Vdev::decode(number) else {
            dev_warn!(dev, "no disk has number {number:#x}: use an xvd name\n");
            return Err(ENODEV);
        };
        if xen::is_hvm_domain() && !xen::is_pvh_domain() {
            if xen::has_pv_and_legacy_disk_devices() && vdev.scheme != Scheme::Xen {
                dev_info!(dev, "disk {number:#x} is left to the emulated controller\n");
                return Err(ENODEV);
            }
            if dev
                .read("device-type")?
                .is_some_and(|kind| kind.starts_with(b"cdrom"))
            {
                dev_info!(dev, "the CD-ROM is left to the emulated controller\n");
                return Err(ENODEV);
            }
        }
        if dev.state() == State::Closed {
            // The driver was unbound and comes back: so does the back end, which still has the disk.
            dev.switch_state(State::Initialising);
        }
        let (interrupt, poll) = params::queues();
        let mut rings = KVec::new();
        for _ in 0..interrupt.min(nr_cpu_ids()).saturating_add(poll) {
            rings.push(Ring::new(dev.into())?, GFP_KERNEL)?;
        }
        let connection = Connection {
            params: params::now(true),
            shape: Shape {
                queues: 1,
                ring_page_order: 0,
            },
            told: KVec::new(),
            channels: KVec::new(),
            shown: Shown::Nothing,
            disk: None,
            first_polled: 0,
        };
        let name = dev.nodename().to_bytes();
        let handle = name
            .rsplit(|byte| *byte == b'/')
            .next()
            .and_then(parse_number)
            .unwrap_or(0);
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                vdev,
                // Sixteen bits on the wire, for extended numbers too.
                handle: handle as u16,
                rings,
                connection <- new_mutex!(connection, "Front::connection"),
            }),
            GFP_KERNEL,
        )
    }

    /// All rings that the device can have.
    pub(crate) fn rings(&self) -> &[Arc<Ring>] {
        &self.rings
    }

    /// How many of `queues` rings are polled: the last ones.
    fn polled(queues: u32) -> u32 {
        params::queues().1.min(queues.saturating_sub(1))
    }

    /// Makes the rings and tells the back end of them.
    pub(crate) fn set_up(&self, dev: &Device<Core<'_>>) -> Result {
        let _no_io = NoIo::enter();
        let trusted = own_number(dev, "trusted")?.unwrap_or(1) != 0;
        let params = params::now(trusted);
        let offer = Offer::read(&dev.otherend_keys()?);
        let shape = Shape::choose(&params, offer, self.rings.len() as u32);

        let mut connection = self.connection.lock();
        connection.told.clear();
        connection.channels.clear();
        for ring in self.rings.iter().take(shape.queues as usize) {
            let pages = RingPages::new(dev, 1 << shape.ring_page_order)?;
            connection
                .told
                .push(CoreRing::new(pages).map_err(|_| EINVAL)?, GFP_KERNEL)?;
            let listener = Arc::new(Listener(ring.clone()), GFP_KERNEL)?;
            connection.channels.push(
                Channel::new(dev, format_args!("blkif"), listener)?,
                GFP_KERNEL,
            )?;
        }
        connection.params = params;
        connection.shape = shape;
        let connection = &*connection;
        dev.transaction(|node| {
            // Another driver, or an earlier connection, may have left these.
            node.remove("multi-queue-num-queues")?;
            node.remove("ring-page-order")?;
            let rings = connection.told.iter().zip(connection.channels.iter());
            let rings = rings.map(|(told, channel)| RingKeys {
                grefs: told.memory().grefs(),
                port: channel.port(),
            });
            negotiate::publish(&params, shape, rings, |key, value| node.write(key, value))
        })?;
        dev.switch_state(State::Initialised);
        Ok(())
    }

    /// Starts the rings under what the back end says now, and shows the disk or brings it back.
    pub(crate) fn connect(
        self: &Arc<Self>,
        dev: &Device<Core<'_>>,
        attend: &Arc<Delayed<Attend>>,
        add: &Delayed<Add>,
    ) -> Result {
        let _no_io = NoIo::enter();
        let keys = dev.otherend_keys()?;
        let disk = Disk::read(&keys).map_err(|error| {
            dev_err!(dev, "{}: the disk is refused\n", format_args!("{error}"));
            EINVAL
        })?;
        let mut connection = self.connection.lock();
        let ability = Ability::read(&keys, &connection.params);
        if connection
            .disk
            .is_some_and(|before| before.sector_size != disk.sector_size)
        {
            dev_err!(dev, "the sector size has changed to {}\n", disk.sector_size);
            return Err(EINVAL);
        }
        let shape = connection.shape;
        let setup = Setup {
            handle: self.handle,
            max_segments: ability.max_segments as usize,
            persistent: ability.persistent,
            bounce: !connection.params.trusted,
            pool_pages: ability.pool_pages(shape.entries()),
            features: ability.features,
        };
        let connection = &mut *connection;
        let told = core::mem::take(&mut connection.told);
        if matches!(connection.shown, Shown::Nothing) {
            connection.first_polled = shape.queues.saturating_sub(Self::polled(shape.queues));
        }
        let first_polled = connection.first_polled;
        for (((told, ring), channel), index) in told
            .into_iter()
            .zip(self.rings.iter())
            .zip(connection.channels.iter())
            .zip(0..)
        {
            let queue = Queue::new(Host::new(dev), told, setup).map_err(|_| ENOMEM)?;
            let live = Live::new(
                queue,
                channel.notifier(),
                index >= first_polled,
                attend.clone(),
            );
            drop(ring.replace(Link::Live(live)));
        }
        for (ring, index) in self.rings.iter().zip(0u32..).skip(shape.queues as usize) {
            if let Some(other) = self.rings.get((index % shape.queues.max(1)) as usize) {
                drop(ring.replace(Link::Shared(other.clone())));
            }
        }
        connection.disk = Some(disk);
        match &connection.shown {
            Shown::Nothing => {
                let new = self.new_disk(dev, shape, &disk, &ability)?;
                connection.shown = Shown::New(new);
                dev.switch_state(State::Connected);
                add.schedule(0);
            }
            Shown::Disk(shown) => {
                shown.set_capacity(disk.sectors);
                shown.set_read_only(disk.read_only);
                shown.update_limits(|limits| set_limits(limits, &disk, &ability))?;
                dev.switch_state(State::Connected);
                shown.run_queues();
            }
            Shown::New(_) | Shown::Adding | Shown::Gone => dev.switch_state(State::Connected),
        }
        let on = |on| if on { "enabled" } else { "disabled" };
        dev_info!(
            dev,
            "{}: {} sectors of 512 bytes; {}; persistent grants: {}; indirect descriptors: {}; bounce buffer: {}; {} ring(s) of {} requests\n",
            format_args!("{}", self.vdev),
            disk.sectors,
            match (ability.features.flush, ability.features.barrier) {
                (true, _) => "flush diskcache: enabled",
                (false, true) => "barrier: enabled",
                (false, false) => "barrier or flush: disabled",
            },
            on(ability.persistent),
            on(ability.max_segments as usize > portico_core::block::wire::MAX_SEGMENTS),
            on(!connection.params.trusted),
            shape.queues,
            shape.entries(),
        );
        Ok(())
    }

    fn new_disk(
        self: &Arc<Self>,
        dev: &Device<Core<'_>>,
        shape: Shape,
        disk: &Disk,
        ability: &Ability,
    ) -> Result<NewDisk<Blk>> {
        let setup = TagSetSetup {
            hw_queues: shape.queues,
            poll_queues: Self::polled(shape.queues),
            depth: shape.entries(),
            // The back end has one, if the disk needs it; a second one costs every request.
            no_scheduler: true,
            ..TagSetSetup::default()
        };
        let tag_set = Arc::pin_init(TagSet::<Blk>::new(setup, self.clone()), GFP_KERNEL)?;
        let mut limits = Limits::new();
        set_limits(&mut limits, disk, ability);
        let data = DiskData {
            cdrom: disk.cdrom,
            serial: self.serial(dev)?,
        };
        let new = NewDisk::new(
            tag_set,
            format_args!("{}", self.vdev),
            limits,
            Arc::new(data, GFP_KERNEL)?,
        )?
        .capacity(disk.sectors)
        .read_only(disk.read_only)
        .numbers(Numbers {
            major: XENVBD_MAJOR,
            first_minor: self.vdev.minor(),
            minors: self.vdev.minors(),
        })?;
        Ok(if disk.removable { new.removable() } else { new })
    }

    /// The back end's key `serial` as far as it is printable, or the device's name.
    fn serial(&self, dev: &Device<Core<'_>>) -> Result<KVec<u8>> {
        let mut text = KVec::new();
        if let Some(value) = dev.otherend_keys()?.read("serial")? {
            for byte in value
                .iter()
                .filter(|byte| byte.is_ascii_graphic())
                .take(SERIAL_LEN)
            {
                text.push(*byte, GFP_KERNEL)?;
            }
        }
        if text.is_empty() {
            text.extend_from_slice(dev.name().to_bytes(), GFP_KERNEL)?;
        }
        Ok(text)
    }

    /// Reads the capacity anew.
    pub(crate) fn update(&self, dev: &Device<Core<'_>>) -> Result {
        let disk = Disk::read(&dev.otherend_keys()?).map_err(|error| {
            dev_err!(
                dev,
                "{}: the disk stays as it is\n",
                format_args!("{error}")
            );
            EINVAL
        })?;
        let mut connection = self.connection.lock();
        let Some(before) = &mut connection.disk else {
            return Ok(());
        };
        if before.sectors == disk.sectors {
            return Ok(());
        }
        before.sectors = disk.sectors;
        dev_info!(
            dev,
            "capacity is now {} sectors of 512 bytes\n",
            disk.sectors
        );
        if let Shown::Disk(shown) = &connection.shown {
            shown.set_capacity(disk.sectors);
        }
        Ok(())
    }

    /// Tells the block layer of features that the back end turned out not to have.
    pub(crate) fn drop_features(&self) {
        let features = self
            .rings
            .iter()
            .filter_map(|ring| ring.with(|live| live.queue.features()));
        let Some(features) = features.reduce(|all, one| Features {
            flush: all.flush && one.flush,
            barrier: all.barrier && one.barrier,
            discard: all.discard && one.discard,
            secure: all.secure && one.secure,
        }) else {
            return;
        };
        let connection = self.connection.lock();
        let Shown::Disk(disk) = &connection.shown else {
            return;
        };
        match disk.update_limits(|limits| set_features(limits, &features)) {
            Ok(()) => dev_info!(
                self.dev,
                "the back end takes less than it said: {features:?}\n"
            ),
            Err(error) => dev_warn!(self.dev, "limits cannot be lowered: {error:?}\n"),
        }
    }

    /// Lets no request in any more, waits some time for those inside, and fails the rest.
    pub(crate) fn finish(&self) {
        self.rings.iter().for_each(|ring| ring.close());
        let pending = || self.rings.iter().map(|ring| ring.pending()).sum::<usize>();
        if !wait(FINISH_MS, || pending() == 0) {
            dev_warn!(
                self.dev,
                "the back end owes {} responses: they are given up\n",
                pending()
            );
            self.rings.iter().for_each(|ring| ring.fail());
        }
        let connection = self.connection.lock();
        if let Shown::Disk(shown) = &connection.shown {
            // Not before: a file system that hears of it waits for what it has under way.
            shown.mark_dead();
            // What waits for a ring fails now.
            shown.run_queues();
        }
    }

    /// Removes the disk, if it is shown; its last requests are served meanwhile.
    pub(crate) fn remove_disk(&self) {
        let mut connection = self.connection.lock();
        if let Shown::Disk(_) = &connection.shown {
            let shown = core::mem::replace(&mut connection.shown, Shown::Gone);
            drop(connection);
            drop(shown);
        }
    }

    /// Gives up the rings: nothing that the back end could still reach is left. What was in them is
    /// `lost`, or fails.
    pub(crate) fn tear_down(&self, link: impl Fn() -> Link, requeue: bool) {
        for ring in self.rings.iter() {
            let mut before = ring.replace(link());
            if let (Link::Live(live), true) = (&mut before, requeue) {
                // They come back at once, wait here, and go on when the ring is up again, also those of a
                // disk that is being added, and if somebody waits for them to freeze the queue meanwhile.
                live.queue.drain(|request| request.requeue_now());
            } else {
                before.fail(&mut Batch::new());
            }
        }
        let mut connection = self.connection.lock();
        let channels = core::mem::take(&mut connection.channels);
        let told = core::mem::take(&mut connection.told);
        drop(connection);
        drop((channels, told));
    }
}

/// Waits until `done` is true, looking every now and then; `false` if that took too long.
pub(crate) fn wait(milliseconds: u32, done: impl Fn() -> bool) -> bool {
    for _ in 0..milliseconds / LOOK_MS {
        if done() {
            return true;
        }
        fsleep(Delta::from_millis(i64::from(LOOK_MS)));
    }
    done()
}
