// SPDX-License-Identifier: MIT OR Apache-2.0
//! fio: the command line from a description, and the few numbers that are wanted from its report.

use crate::exec::{self, Group};
use crate::proto::{Exec, Fault, FaultKind, Fio, FioResult, FioSide};
use serde_json::Value;
use std::time::Instant;

/// Runs fio and reads its report. I/O and verification errors are in the result, not a fault.
pub fn run(what: &Fio, deadline: Instant, group: &Group) -> Result<FioResult, Fault> {
    let mut exec = Exec::new(arguments(what));
    exec.keep = 1 << 20;
    let exit = exec::run(&exec, deadline, group)?;
    parse(&exit.stdout, &exit.stderr).ok_or_else(|| {
        Fault::new(
            FaultKind::Unexpected,
            format!(
                "fio ended with {} and no report; it printed: {} {}",
                exit.code,
                exec::tail(&exit.stdout),
                exec::tail(&exit.stderr)
            ),
        )
    })
}

fn arguments(what: &Fio) -> Vec<String> {
    let mut args: Vec<String> = [
        "fio",
        "--name=job",
        "--output-format=json",
        "--direct=1",
        "--ioengine=libaio",
        "--group_reporting",
        "--thread",
        "--norandommap=0",
        "--random_generator=tausworthe64",
        "--percentile_list=50:99",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--filename={}", what.path));
    args.push(format!("--rw={}", what.rw));
    args.push(format!("--bs={}", what.bs));
    args.push(format!("--iodepth={}", what.depth));
    args.push(format!("--numjobs={}", what.jobs));
    if what.size > 0 {
        // Each job begins at whole blocks, whatever their number.
        let share = what.size / u64::from(what.jobs.max(1)) / 4096 * 4096;
        args.push(format!("--size={share}"));
        if what.jobs > 1 {
            args.push(format!("--offset_increment={share}"));
        }
    }
    if what.seconds > 0 {
        args.push(format!("--runtime={}", what.seconds));
        args.push("--time_based".into());
    }
    if what.verify {
        args.push("--verify=crc32c".into());
        args.push("--verify_fatal=1".into());
        args.push("--verify_dump=0".into());
        args.push("--do_verify=1".into());
    }
    args.extend(what.extra.iter().cloned());
    args
}

fn parse(stdout: &str, stderr: &str) -> Option<FioResult> {
    // Messages can stand before the report.
    let start = stdout.find("{\n")?;
    let end = stdout.rfind('}')? + 1;
    let report: Value = serde_json::from_str(stdout.get(start..end)?).ok()?;
    let job = report.get("jobs")?.get(0)?;
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let side = |name: &str| {
        let side = &job[name];
        let percentile = |key: &str| side["clat_ns"]["percentile"][key].as_u64().unwrap_or(0);
        FioSide {
            ios: number(side, "total_ios") as u64,
            bytes: number(side, "io_bytes") as u64,
            iops: number(side, "iops"),
            bandwidth: number(side, "bw_bytes"),
            p50_ns: percentile("50.000000"),
            p99_ns: percentile("99.000000"),
        }
    };
    let longest = ["read", "write", "trim"]
        .map(|name| number(&job[name], "runtime"))
        .into_iter()
        .fold(0.0, f64::max);
    let before = format!("{} {}", stdout[..start].trim(), stderr.trim());
    let code = number(job, "error") as u64;
    Some(FioResult {
        read: side("read"),
        write: side("write"),
        trim: side("trim"),
        errors: (number(job, "total_err") as u64).max(u64::from(code != 0)),
        message: exec::tail(&before).to_owned(),
        seconds: longest / 1000.0,
        usr_cpu: number(job, "usr_cpu"),
        sys_cpu: number(job, "sys_cpu"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_behind_messages() {
        let text = r#"verify: bad header
{
  "jobs" : [ { "error": 84, "total_err": 1, "usr_cpu": 1.5, "sys_cpu": 2.5,
    "read" : { "io_bytes": 8192, "total_ios": 2, "iops": 10.5, "bw_bytes": 43008, "runtime": 190,
      "clat_ns": { "percentile": { "50.000000": 900, "99.000000": 1900 } } },
    "write" : { "io_bytes": 0, "total_ios": 0, "iops": 0.0, "bw_bytes": 0, "runtime": 0, "clat_ns": {} },
    "trim" : {} } ]
}
"#;
        let result = parse(text, "").unwrap();
        assert_eq!(
            (result.errors, result.read.ios, result.read.p99_ns),
            (1, 2, 1900)
        );
        assert_eq!(result.message, "verify: bad header");
        assert_eq!(result.seconds, 0.19);
        assert!(parse("nothing", "").is_none());
    }
}
