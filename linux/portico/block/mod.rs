// SPDX-License-Identifier: GPL-2.0-only

//! Block devices with requests and hardware queues (blk-mq).
//!
//! A driver implements [`Operations`], which receives requests as owned [`Request`] handles, and
//! [`DiskOperations`] for what else a disk does. It makes a [`TagSet`], a [`NewDisk`] on it, and adds
//! that as [`GenDisk`]:
//!
//! ```ignore
//! struct Ram;
//!
//! #[vtable]
//! impl Operations for Ram {
//!     type TagSetData = ();
//!     type QueueData = ();
//!     type RequestData = ();
//!     type Disk = RamDisk;
//!
//!     fn init_queue(_data: (), _index: u32) -> Result {
//!         Ok(())
//!     }
//!
//!     fn init_request() -> impl PinInit<(), Error> {
//!         Ok(())
//!     }
//!
//!     fn queue_rq(
//!         _queue: HwQueue<'_, Self>,
//!         request: Request<Self>,
//!         _last: bool,
//!     ) -> Result<(), Request<Self>> {
//!         for segment in request.segments() {
//!             // Move `segment.len()` bytes at `segment.offset()`.
//!         }
//!         request.end(Status::OK);
//!         Ok(())
//!     }
//! }
//!
//! let setup = TagSetSetup { hw_queues: 2, depth: 64, ..Default::default() };
//! let tag_set = Arc::pin_init(TagSet::<Ram>::new(setup, ()), GFP_KERNEL)?;
//! let mut limits = Limits::new();
//! limits.logical_block_size(4096).max_segments(32);
//! let disk = NewDisk::new(tag_set, fmt!("ram0"), limits, ())?.capacity(1 << 20).add_disk(None)?;
//! ```
//!
//! The order of tear-down is in the types: a request keeps the disk, the disk keeps the tag set, and
//! dropping the disk waits for the requests.
//!
//! C headers: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

mod batch;
mod disk_operations;
mod gen_disk;
mod limits;
mod major;
mod operations;
mod request;
mod requests;
mod segment;
mod status;
mod tag_set;
mod vtable;

pub use self::{
    batch::Batch,
    disk_operations::{AttributeText, DiskOperations, Geometry},
    gen_disk::{GenDisk, NewDisk, Numbers},
    limits::Limits,
    major::Major,
    operations::{HwQueue, Operations, Timeout},
    request::{Op, Request, TimedOut},
    requests::Requests,
    segment::{Segment, Segments},
    status::Status,
    tag_set::{TagSet, TagSetSetup},
};
