// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest: loads the driver that the command line names, then serves dom0 through xenstore.

use crate::agent::Agent;
use crate::boot::{self, Problems, Settings};
use crate::channel::{self, FOLDER};
use crate::modules::Modules;
use crate::proto::{Driver, Fault, FaultKind, Request, Response, GUEST_MESSAGE_MAX};
use std::sync::Arc;
use std::time::Duration;
use xen_user::Store;

/// How often to look for a request or a lost `hello` when no watch event comes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Loads the modules that the command line names.
pub fn bring_up(settings: &Settings, problems: &mut Problems) {
    if settings.modules.is_empty() {
        return;
    }
    let modules = problems.check("modules", Modules::open(&boot::kernel_release()));
    for name in &settings.modules {
        problems.load(
            modules.as_ref(),
            name,
            settings.driver.unwrap_or(Driver::Stock),
        );
    }
}

/// Answers dom0's requests for ever. Trouble with xenstore is not the end: after a restore the
/// connection may have to be made again.
pub fn serve(agent: &Arc<Agent>) -> ! {
    let mut last = 0;
    loop {
        if let Err(e) = session(agent, &mut last) {
            boot::say(format_args!("xenstore: {e}; connecting again"));
        }
        std::thread::sleep(INTERVAL);
    }
}

fn session(agent: &Arc<Agent>, last: &mut u64) -> xen_user::Result<()> {
    let (hello, requests, responses) = (
        format!("{FOLDER}/hello"),
        format!("{FOLDER}/req"),
        format!("{FOLDER}/rsp"),
    );
    let own = serde_json::to_string(agent.hello()).unwrap_or_default();
    let mut store = Store::open()?;
    store.watch(&requests, "req")?;
    loop {
        if store.read_text(&hello)?.as_deref() != Some(own.as_str()) {
            store.write(&hello, &own)?;
        }
        if let Some((id, text)) = channel::get(&mut store, &requests)? {
            if id != *last {
                *last = id;
                let answer = answer(agent, id, &text);
                channel::put(&mut store, &responses, id, &answer)?;
            }
        }
        store.next_event(INTERVAL)?;
    }
}

fn answer(agent: &Arc<Agent>, id: u64, text: &[u8]) -> String {
    let refuse = |kind, message: String| Response {
        id,
        result: Err(Fault::new(kind, message)),
    };
    let response = match serde_json::from_slice::<Request>(text) {
        Ok(request) => agent.answer(request),
        Err(e) => refuse(
            FaultKind::BadRequest,
            format!("request not understood: {e}"),
        ),
    };
    let line = serde_json::to_string(&response).unwrap_or_default();
    if line.len() <= GUEST_MESSAGE_MAX {
        return line;
    }
    let message = format!(
        "an answer of {} bytes; dom0 takes {GUEST_MESSAGE_MAX}",
        line.len()
    );
    serde_json::to_string(&refuse(FaultKind::TooLarge, message)).unwrap_or_default()
}
