//! `stack demo`: an on-sale to look at, with a crowd in it.
//!
//! The crowd is `usher-loadtest`'s. When the demo ends, by Ctrl-C or by time, the crowd is stopped first, then its
//! history is audited against Postgres and the payment provider while both still run; only then does everything go.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use stack::{Pace, Ready, Signal, Stack, binaries, kills};

use crate::turns;
use crate::up::{self, UpArguments};

/// About half a minute of waiting for a crowd of some hundreds in line.
const PACE: Pace = Pace { rate_per_min: 1200.0, burst: 20, max_inside: 400 };
const BOOKINGS: usize = 2;
/// How long the crowd may take to finish what it is doing.
const CROWD_DRAINS: Duration = Duration::from_secs(40);
/// Payments that nobody finishes in this time are a defect: the deadline of a pending one, and a minute.
const SETTLES_WITHIN: Duration = Duration::from_secs(150);
/// What the audit answers when the books are wrong.
const UNCLEAN: u8 = 98;
/// How a crowd that did its part ends: by itself, with a threshold missed on a slow machine, or stopped by us.
const CROWD_CAME: &[u8] = &[0, 99, 105];

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    #[command(flatten)]
    up: UpArguments,
    /// Ends by itself after so many seconds.
    #[arg(long = "for", env = "DEMO_FOR", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// How many fans come, when the scenario's own number does not suit.
    #[arg(long, env = "DEMO_FANS", value_name = "N")]
    fans: Option<u64>,
    /// The crowd's scenario; config/demo/crowd.toml when not given.
    #[arg(long, value_name = "FILE")]
    crowd: Option<PathBuf>,
    /// Kills the booking nodes in turn (kill -9), each so many seconds after the last and when somebody pays, and starts
    /// them again.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..))]
    kill_bookings: Option<u64>,
}

pub(crate) async fn demo(arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let mut stop = Box::pin(up::asked_to_stop(arguments.up.parent())?);
    let Some(stack) = up::start(arguments.up.options(BOOKINGS, PACE), &mut stop).await? else {
        return Ok(ExitCode::FAILURE);
    };
    let shown = show(&arguments, &stack, &mut stop).await;
    if !matches!(shown, Ok(code) if code == ExitCode::SUCCESS) {
        stack.keep_directory();
        eprintln!("Logs and history stay in {}.", stack.ready().dir.display());
    }
    up::stop_all(stack).await?;
    shown
}

async fn show(
    arguments: &DemoArguments,
    stack: &Stack,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<ExitCode> {
    let history = stack.ready().dir.join("history.ndjson");
    let loadtest = binaries::find("usher-loadtest")?;
    print!("{}", banner(stack.ready(), arguments.seconds));
    std::io::stdout().flush().context("printing the banner")?;
    let mut crowd = start_crowd(arguments, stack, &loadtest, &history)?;
    let bookings = stack.ready().booking.len();
    tokio::select! {
        () = stop => {}
        () = up::watch(stack) => {}
        () = after(arguments.seconds) => {}
        () = farewell(&mut crowd) => {}
        killed = kill(arguments, stack, bookings) => killed?,
    }
    eprintln!("\nStopping the crowd …");
    let crowd = end_crowd(crowd).await?;
    if arguments.kill_bookings.is_some() {
        for i in 0..bookings {
            stack.booking(i).node().spawn()?;
        }
        kills::settled(stack, SETTLES_WITHIN).await?;
    }
    let audit = audit(stack.ready(), &loadtest, &history)?;
    println!("{}", sold(stack)?);
    let code = |status: ExitStatus| status.code().and_then(|code| u8::try_from(code).ok());
    if crowd.and_then(code) == Some(UNCLEAN) || code(audit) == Some(UNCLEAN) {
        println!("Verdict: NOT clean.");
        return Ok(ExitCode::from(UNCLEAN));
    }
    if !audit.success() {
        bail!("the audit could not be made ({audit})");
    }
    if let Some(crowd) = crowd.filter(|status| !code(*status).is_some_and(|code| CROWD_CAME.contains(&code))) {
        let log = stack.ready().dir.join("crowd.log");
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("the crowd did not come ({crowd}):\n{}", said.trim());
    }
    println!("Verdict: clean.");
    Ok(ExitCode::SUCCESS)
}

fn start_crowd(arguments: &DemoArguments, stack: &Stack, loadtest: &Path, history: &Path) -> anyhow::Result<Child> {
    let scenario = match &arguments.crowd {
        Some(file) => file.clone(),
        None => binaries::workspace()
            .map(|root| root.join("config/demo/crowd.toml"))
            .context("config/demo/crowd.toml is read from the workspace, which is not there; give --crowd FILE")?,
    };
    let mut command = Command::new(loadtest);
    command.arg("run").arg(&scenario).arg("--history").arg(history);
    for gateway in &stack.ready().gateway {
        command.args(["--target", gateway]);
    }
    // With the control API at hand the history also says how fast the line was set to move.
    command.args(["--control", &stack.ready().control[0]]);
    command.env("USHER_CONTROL_TOKEN", &stack.ready().control_token);
    if let Some(fans) = arguments.fans {
        command.args(["--fans", &fans.to_string()]);
    }
    // Its progress bar is for people; in a log it would only be noise.
    let log = std::fs::File::create(stack.ready().dir.join("crowd.log")).context("opening crowd.log")?;
    let errors = if std::io::stderr().is_terminal() { Stdio::inherit() } else { log.try_clone()?.into() };
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    Ok(stack.companion(command, "crowd")?)
}

/// Never ends: says once that the crowd has gone, while the shop stays open.
async fn farewell(crowd: &mut Child) {
    while matches!(crowd.try_wait(), Ok(None)) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("\nThe crowd has gone; the shop stays open. Ctrl-C stops.");
    std::future::pending::<()>().await;
}

async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

async fn kill(arguments: &DemoArguments, stack: &Stack, bookings: usize) -> anyhow::Result<()> {
    match arguments.kill_bookings {
        Some(seconds) => turns::take(stack, bookings, Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Lets the crowd finish what it is doing; `None` when it had to be killed.
async fn end_crowd(mut crowd: Child) -> anyhow::Result<Option<ExitStatus>> {
    if crowd.try_wait().context("waiting for the crowd")?.is_none() {
        let _ = stack::kill(crowd.id(), Signal::INT);
    }
    let deadline = tokio::time::Instant::now() + CROWD_DRAINS;
    while tokio::time::Instant::now() < deadline {
        if let Some(status) = crowd.try_wait().context("waiting for the crowd")? {
            return Ok(Some(status));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("The crowd did not stop in {CROWD_DRAINS:?} and was killed.");
    crowd.kill().context("killing the crowd")?;
    crowd.wait().context("waiting for the crowd")?;
    Ok(None)
}

fn audit(ready: &Ready, loadtest: &Path, history: &Path) -> anyhow::Result<ExitStatus> {
    Command::new(loadtest)
        .arg("audit")
        .arg("--history")
        .arg(history)
        .args(["--postgres", &ready.postgres, "--psp", &ready.psp])
        .stdin(Stdio::null())
        .status()
        .context("starting the audit")
}

/// What was sold, as the database has it.
fn sold(stack: &Stack) -> anyhow::Result<String> {
    const SQL: &str = "
        select format('Sold: %s bookings, %s seats, %s standing places, %s.',
            (select count(*) from booking where state = 'confirmed'),
            (select count(*) from seat where state = 3 and not blocked),
            (select coalesce(sum(sold), 0) from area),
            coalesce((select string_agg(to_char(sum / 100.0, 'FM999,999,990.00') || ' ' || currency, ' and ')
                from (select currency, sum(total) from booking where state = 'confirmed' group by 1) money),
                'no money'))";
    stack.sql(SQL).context("asking what was sold")
}

fn banner(ready: &Ready, seconds: Option<u64>) -> String {
    let gateway = &ready.gateway[0];
    let control = &ready.control[0];
    let token = &ready.control_token;
    let end = seconds.map_or_else(
        || "Ctrl-C stops everything and says what was sold.".to_owned(),
        |seconds| format!("It ends by itself after {seconds} s; Ctrl-C ends it sooner."),
    );
    format!(
        "
  The on-sale is open and a crowd is coming.

  Stand in line with it    {gateway}/events/demo-arena
  No line here             {gateway}/events/demo-club
  Steer the sale           {control}/#{token}
  Console login            {token}  (or open the link above, which carries it)
  Metrics                  {control}/metrics
  Files and logs           {dir}

  {end}

",
        dir = ready.dir.display()
    )
}
