// SPDX-License-Identifier: GPL-2.0-only

//! One hardware queue.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{aref::ARef, Arc, SpinLockIrq},
    time::{Delta, Instant, Monotonic},
};
use portico::{
    block::{Batch, HwQueue, Op, Operations, Request, Requests, Status, TimedOut, Timeout},
    event::{Handler, Notifier, Verdict},
    host::Host,
    work::Delayed,
    xenbus::Device,
};
use portico_core::block::{Busy, Outcome, Queue, Stats, Violation};

use crate::{disk::BlkDisk, front::Front, works::Attend};

/// Sectors that are put into a ring before a break. Interrupts are off meanwhile, and the data may be
/// copied: this is one or two long requests, or 32 of a page.
const AT_ONCE: u64 = 256;

/// Time between two complaints of one ring.
const COMPLAIN_AGAIN: Delta = Delta::from_secs(10);

/// The driver as the block layer sees it.
pub(crate) struct Blk;

/// A request of the driver.
pub(crate) type BlkRequest = Request<Blk>;

/// A ring that is connected.
pub(crate) struct Live {
    pub(crate) queue: Queue<Host<BlkRequest>>,
    notifier: Notifier,
    /// Completions are looked for, not notified.
    polled: bool,
    /// What the back end did wrong, until somebody has said so.
    pub(crate) violation: Option<Violation>,
    /// When somebody last complained of late requests.
    complained: Option<Instant<Monotonic>>,
    attend: Arc<Delayed<Attend>>,
}

impl Live {
    pub(crate) fn new(
        queue: Queue<Host<BlkRequest>>,
        notifier: Notifier,
        polled: bool,
        attend: Arc<Delayed<Attend>>,
    ) -> Self {
        Self {
            queue,
            notifier,
            polled,
            violation: None,
            complained: None,
            attend,
        }
    }

    /// Whether to complain of a late request: of all that are late together one is enough.
    fn may_complain(&mut self) -> bool {
        if self
            .complained
            .is_some_and(|at| at.elapsed() < COMPLAIN_AGAIN)
        {
            return false;
        }
        self.complained = Some(Instant::now());
        true
    }

    /// Puts a request into the ring.
    #[inline]
    fn take(&mut self, request: BlkRequest) -> Result<(), Refused> {
        self.queue
            .submit(request)
            .map_err(|(request, busy)| match busy {
                Busy::Ring | Busy::Pages | Busy::Grants => Refused::Wait(request),
                Busy::Unsupported => {
                    let status = unsupported(&request);
                    Refused::Failed(request, status)
                }
                Busy::Malformed | Busy::Closed => Refused::Failed(request, Status::IO_ERROR),
            })
    }

    /// Puts requests into the ring until there is no other, or no room, or they are beyond [`AT_ONCE`]:
    /// then the result is `true`.
    fn take_some(&mut self, requests: &mut Requests<'_, Blk>, failed: &mut Batch) -> bool {
        let mut sectors = 0;
        while sectors <= AT_ONCE {
            let Some(request) = requests.next() else {
                return false;
            };
            sectors += request.sectors();
            match self.take(request) {
                Ok(()) => {}
                Err(Refused::Failed(request, status)) => failed.add(request, status),
                Err(Refused::Wait(request) | Refused::Elsewhere(request, _)) => {
                    requests.refuse(request);
                    return false;
                }
            }
        }
        true
    }

    /// Takes what the back end has answered. `None`: it broke the protocol, now or before.
    #[inline]
    fn reap(&mut self, batch: &mut Batch) -> Option<u32> {
        if self.queue.is_broken() {
            return None;
        }
        let mut lost = false;
        let done = |request: BlkRequest, outcome| {
            lost |= matches!(outcome, Outcome::Unsupported | Outcome::Retry);
            finish(batch, request, outcome);
        };
        let reaped = if self.polled {
            self.queue.poll(done)
        } else {
            self.queue.reap(done)
        };
        match reaped {
            Ok(reaped) => {
                if reaped.notify {
                    self.notifier.notify();
                }
                if lost {
                    self.attend.schedule(0);
                }
                Some(reaped.responses)
            }
            Err(violation) => {
                self.violation = Some(violation);
                self.attend.schedule(0);
                None
            }
        }
    }
}

/// What a hardware queue leads to.
pub(crate) enum Link {
    /// Nothing yet: requests wait.
    Down,
    /// A ring of its own.
    Live(Live),
    /// The ring of another queue, after a resume to a back end that takes fewer.
    Shared(Arc<Ring>),
    /// Nothing any more: requests fail.
    Gone,
}

impl Link {
    /// Breaks the ring off and hands its requests to `batch`, failed.
    pub(crate) fn fail(&mut self, batch: &mut Batch) {
        if let Self::Live(live) = self {
            live.queue
                .drain(|request| batch.add(request, Status::IO_ERROR));
        }
    }
}

/// One hardware queue.
#[pin_data]
pub(crate) struct Ring {
    dev: ARef<Device>,
    #[pin]
    link: SpinLockIrq<Link>,
}

impl Ring {
    pub(crate) fn new(dev: ARef<Device>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { dev, link <- new_spinlock_irq!(Link::Down, "Ring::link") }),
            GFP_KERNEL,
        )
    }

    /// Leads the queue elsewhere; returns where it led before, to be dropped where one may sleep.
    #[must_use = "it is dropped under no lock"]
    pub(crate) fn replace(&self, link: Link) -> Link {
        core::mem::replace(&mut *self.link.lock(), link)
    }

    /// Does something with the ring, if there is one of its own.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Live) -> R) -> Option<R> {
        match &mut *self.link.lock() {
            Link::Live(live) => Some(f(live)),
            _ => None,
        }
    }

    /// Does something with the ring that this queue's requests are in.
    #[inline]
    fn follow<R>(&self, f: impl FnOnce(&mut Live) -> R) -> Option<R> {
        let mut link = self.link.lock();
        match &mut *link {
            Link::Live(live) => Some(f(live)),
            Link::Shared(other) => {
                let other = other.clone();
                drop(link);
                other.with(f)
            }
            Link::Down | Link::Gone => None,
        }
    }

    /// Ends every request in the ring with an error, and lets no further one in.
    pub(crate) fn fail(&self) {
        let mut batch = Batch::new();
        self.link.lock().fail(&mut batch);
    }

    /// Lets no further request in; those inside may be completed.
    pub(crate) fn close(&self) {
        let mut link = self.link.lock();
        match &mut *link {
            Link::Live(live) => live.queue.close(),
            _ => *link = Link::Gone,
        }
    }

    /// Requests that wait for a response.
    pub(crate) fn pending(&self) -> usize {
        self.with(|live| live.queue.pending().count()).unwrap_or(0)
    }

    /// The counters, and how many pages are granted persistently.
    pub(crate) fn stats(&self) -> Option<(Stats, usize)> {
        self.with(|live| (live.queue.stats(), live.queue.persistent_grants()))
    }

    #[inline]
    fn queue_rq(&self, request: BlkRequest, last: bool) -> Result<(), Refused> {
        let mut link = self.link.lock();
        let live = match &mut *link {
            Link::Live(live) => live,
            Link::Down => return Err(Refused::Wait(request)),
            Link::Shared(other) => return Err(Refused::Elsewhere(request, other.clone())),
            Link::Gone => return Err(Refused::Failed(request, Status::IO_ERROR)),
        };
        let taken = live.take(request);
        // A request that finds no room must not keep those before it from the back end.
        let notify = (last || taken.is_err()) && live.queue.push();
        let notifier = live.notifier;
        drop(link);
        if notify {
            notifier.notify();
        }
        taken
    }

    /// Takes what there is room for. Does nothing without a ring of its own: then the requests come
    /// one by one.
    fn queue_rqs(&self, requests: &mut Requests<'_, Blk>) {
        let mut failed = Batch::new();
        let mut some = || {
            self.with(|live| {
                let more = live.take_some(requests, &mut failed);
                (more, (!more && live.queue.push()).then_some(live.notifier))
            })
        };
        while let Some((more, notifier)) = some() {
            if let Some(notifier) = notifier {
                notifier.notify();
            }
            if !more {
                break;
            }
        }
    }

    #[inline]
    fn commit(&self) {
        let push = |live: &mut Live| live.queue.push().then_some(live.notifier);
        if let Some(Some(notifier)) = self.follow(push) {
            notifier.notify();
        }
    }
}

/// Why a ring does not take a request.
enum Refused {
    /// There is no room now.
    Wait(BlkRequest),
    /// It goes to this ring.
    Elsewhere(BlkRequest, Arc<Ring>),
    /// It never will.
    Failed(BlkRequest, Status),
}

/// The verdict on a request that the back end does not know.
fn unsupported(request: &BlkRequest) -> Status {
    match request.op() {
        // There is no cache to flush.
        Op::Flush => Status::OK,
        Op::Discard | Op::SecureErase => {
            request.disable_discard();
            Status::NOT_SUPPORTED
        }
        Op::Read | Op::Write => Status::NOT_SUPPORTED,
    }
}

fn finish(batch: &mut Batch, request: BlkRequest, outcome: Outcome) {
    match outcome {
        Outcome::Done => batch.add(request, Status::OK),
        Outcome::Failed => batch.add(request, Status::IO_ERROR),
        Outcome::Unsupported => {
            let status = unsupported(&request);
            batch.add(request, status);
        }
        Outcome::Retry => request.requeue_now(),
    }
}

/// Listens to the back end on one ring.
pub(crate) struct Listener(pub(crate) Arc<Ring>);

impl Handler for Listener {
    fn handle(&self) -> Verdict {
        // Completed after the ring's lock, which `reap` has dropped.
        let mut batch = Batch::new();
        match self.0.with(|live| live.reap(&mut batch)) {
            None | Some(Some(0)) => Verdict::Spurious,
            Some(Some(_)) => Verdict::Handled,
            Some(None) => Verdict::Silence,
        }
    }
}

#[vtable]
impl Operations for Blk {
    type TagSetData = Arc<Front>;
    type QueueData = Arc<Ring>;
    type RequestData = ();
    type Disk = BlkDisk;

    fn init_queue(front: kernel::sync::ArcBorrow<'_, Front>, index: u32) -> Result<Arc<Ring>> {
        front.rings().get(index as usize).cloned().ok_or(EINVAL)
    }

    fn init_request() -> impl PinInit<(), Error> {
        Ok(())
    }

    #[inline]
    fn queue_rq(
        queue: HwQueue<'_, Self>,
        request: BlkRequest,
        last: bool,
    ) -> Result<(), BlkRequest> {
        let mut refused = queue.data().queue_rq(request, last);
        if let Err(Refused::Elsewhere(request, other)) = refused {
            refused = other.queue_rq(request, last);
        }
        match refused {
            Ok(()) => Ok(()),
            Err(Refused::Wait(request) | Refused::Elsewhere(request, _)) => Err(request),
            Err(Refused::Failed(request, status)) => {
                request.end(status);
                Ok(())
            }
        }
    }

    fn queue_rqs(queue: HwQueue<'_, Self>, requests: &mut Requests<'_, Self>) {
        queue.data().queue_rqs(requests);
    }

    fn commit_rqs(queue: HwQueue<'_, Self>) {
        queue.data().commit();
    }

    fn poll(queue: HwQueue<'_, Self>, batch: &mut Batch) {
        queue.data().follow(|live| live.reap(batch));
    }

    fn timeout(queue: HwQueue<'_, Self>, request: &TimedOut<'_, Self>) -> Timeout {
        let mut batch = Batch::new();
        let ring = queue.data();
        let seen = ring.follow(|live| {
            let reaped = live.reap(&mut batch);
            (
                reaped,
                live.may_complain().then(|| live.queue.pending().count()),
            )
        });
        batch.complete();
        let index = queue.index();
        match seen {
            Some((Some(0), Some(owed))) => dev_warn!(
                ring.dev,
                "queue {index}: {:?} of {} sectors at {} takes long: the back end owes {owed} responses\n",
                request.op(),
                request.sectors(),
                request.sector()
            ),
            Some((Some(reaped), Some(_))) => dev_warn!(
                ring.dev,
                "queue {index}: {reaped} responses had come without a notification\n"
            ),
            // A broken ring has been reported, and without a ring a request waits in the block layer.
            _ => {}
        }
        Timeout::Wait
    }
}
