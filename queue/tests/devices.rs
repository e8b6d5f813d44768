//! A place on its way to another device, on a real Redis: what a random run meets too seldom. How long a code lives, how
//! many may live, how often a place may move, many takers at once, and what a loss leaves.

#[path = "support/server.rs"]
#[allow(dead_code, reason = "one server is all that is needed here")]
mod server;

use queue::configure::Expect;
use queue::offer::Offered;
use queue::seen::Shown;
use queue::take::Taken;
use queue::{Clock, Code, Line, Standing, keys};
use queue_token::{Device, SaleId, Score, Taker, VisitorId};
use server::Server;

const START_US: u64 = 1_760_000_000_000_000;
const CODE_LIFE_S: u64 = 600;

fn sale() -> SaleId {
    "moving".parse().expect("a sale id")
}

fn at(ms: u64) -> Clock {
    Clock::Micros(START_US + ms * 1000)
}

fn taker(n: u8) -> Taker {
    Taker::from_bytes([n; 16])
}

/// A sale that calls nobody, and a visitor in its line.
async fn waiting(line: &Line, settings: &str) -> Shown {
    let settings = serde_json::from_str(settings).expect("settings");
    line.configure(&sale(), &settings, None, Expect::Any, at(0)).await.expect("configured");
    let visitor = VisitorId::from_bytes([7; 16]);
    let joined = line.join(&sale(), Score::default(), &[visitor], at(0)).await.expect("joined");
    let Standing::Waiting { score, .. } = joined[0] else { panic!("{joined:?}") };
    (visitor, score).into()
}

const PAUSED: &str = r#"{"rate_per_min": 60, "max_inside": 5, "state": "paused"}"#;

#[test]
fn a_code_lives_for_ten_minutes_and_not_a_millisecond_longer() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let shown = waiting(&line, PAUSED).await;
        let (first, second) = (Code::from_bits(1), Code::from_bits(2));
        let offer = async |code, ms| line.offer(&sale, shown, code, at(ms)).await.expect("offered");
        let until_ms = START_US / 1000 + CODE_LIFE_S * 1000;
        assert_eq!(offer(first, 0).await, Offered::Code { code: first, until_ms });
        let half_ms = CODE_LIFE_S * 500;
        assert_eq!(
            offer(second, half_ms - 1).await,
            Offered::Code { code: first, until_ms },
            "it still has most of it"
        );
        let Offered::Code { code, until_ms } = offer(second, half_ms).await else { panic!("no code") };
        assert_eq!(code, second, "half its life is over");
        let take = async |code, ms| line.take(&sale, code, taker(1), at(ms)).await.expect("asked");
        assert_eq!(take(first, half_ms).await, Taken::Unknown, "a visitor has one code");
        let end_ms = until_ms - START_US / 1000;
        assert_eq!(take(second, end_ms).await, Taken::Unknown, "too late");
        let moved = Shown { device: Device::new(1).expect("a device"), ..shown };
        assert_eq!(take(second, end_ms - 1).await, Taken::Place(moved), "just in time");
        assert_eq!(take(second, end_ms - 1).await, Taken::Place(moved), "the answer may have been lost on the way");
        let other = line.take(&sale, second, taker(2), at(end_ms - 1)).await.expect("asked");
        assert_eq!(other, Taken::Unknown, "nobody else gets it");
    });
}

#[test]
fn so_many_codes_may_live_and_no_more() {
    let server = Server::start();
    let (line, sale, mut raw) = (server.line.clone(), sale(), server.raw.clone());
    server.runtime.block_on(async {
        let shown = waiting(&line, PAUSED).await;
        let fill = "for i = 1, 100000 do redis.call('ZADD', KEYS[1], ARGV[1], 'x' .. i) end";
        let codes = keys::of(&sale)[10].clone();
        let mut command = redis::cmd("EVAL");
        command.arg(fill).arg(1).arg(&codes).arg(START_US / 1000 + 1000);
        command.query_async::<()>(&mut raw).await.expect("filled");
        let offer = async |ms| line.offer(&sale, shown, Code::from_bits(1), at(ms)).await.expect("asked");
        assert_eq!(offer(0).await, Offered::Full);
        assert!(matches!(offer(1001).await, Offered::Code { .. }), "those whose life is over make room");
        for _ in 0..101 {
            line.snapshot(&sale, 0, at(1002)).await.expect("a snapshot forgets a thousand");
        }
        let left: u64 = redis::cmd("ZCARD").arg(&codes).query_async(&mut raw).await.expect("counted");
        assert_eq!(left, 1);
    });
}

#[test]
fn a_place_moves_a_thousand_times_and_then_stays() {
    let server = Server::start();
    let (line, sale) = (server.line.clone(), sale());
    server.runtime.block_on(async {
        let mut shown = waiting(&line, PAUSED).await;
        for move_ in 1..=Device::LAST.get() {
            let code = Code::from_bits(u64::from(move_));
            assert!(matches!(line.offer(&sale, shown, code, at(0)).await.expect("asked"), Offered::Code { .. }));
            let Taken::Place(next) = line.take(&sale, code, taker(1), at(0)).await.expect("asked") else {
                panic!("move {move_} failed");
            };
            assert_eq!(next, Shown { device: Device::new(move_).expect("a device"), ..shown });
            shown = next;
        }
        assert_eq!(line.offer(&sale, shown, Code::from_bits(0), at(0)).await.expect("asked"), Offered::Final);
        let standings = line.seen(&sale, &[shown], at(0)).await.expect("seen");
        assert!(matches!(standings[..], [Standing::Waiting { ahead: 0, score }] if score == shown.score));
    });
}

#[test]
fn of_many_takers_at_once_one_gets_the_place() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let lines = [server::connect(server.redis()).await, server::connect(server.redis()).await];
        let shown = waiting(&lines[0], PAUSED).await;
        let code = Code::from_bits(99);
        lines[0].offer(&sale(), shown, code, Clock::Server).await.expect("offered");
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..50u8 {
            let line = lines[usize::from(n % 2)].clone();
            tasks.spawn(async move { line.take(&sale(), code, taker(n), Clock::Server).await.expect("asked") });
        }
        let taken: Vec<Taken> = tasks.join_all().await;
        let places = taken.iter().filter(|taken| matches!(taken, Taken::Place(_))).count();
        assert_eq!(places, 1, "{taken:?}");
    });
}

/// The newest device brings back what Redis lost; before it does, the old one is heard, and nobody is called.
#[test]
fn after_a_loss_the_newest_device_has_the_place_again() {
    let server = Server::start();
    let (line, sale, mut raw) = (server.line.clone(), sale(), server.raw.clone());
    let open = r#"{"rate_per_min": 60000, "burst": 9, "max_inside": 9}"#;
    server.runtime.block_on(async {
        let old = waiting(&line, PAUSED).await;
        let code = Code::from_bits(5);
        line.offer(&sale, old, code, at(0)).await.expect("offered");
        let Taken::Place(new) = line.take(&sale, code, taker(1), at(0)).await.expect("asked") else { panic!("taken") };
        redis::cmd("FLUSHALL").query_async::<()>(&mut raw).await.expect("flushed");
        let settings = serde_json::from_str(open).expect("settings");
        line.configure(&sale, &settings, None, Expect::Lost(1), at(1)).await.expect("brought back");
        let seen = async |shown: Shown, ms| line.seen(&sale, &[shown], at(ms)).await.expect("seen")[0];
        assert!(matches!(seen(old, 2).await, Standing::Waiting { .. }), "Redis cannot know");
        assert!(matches!(seen(new, 3).await, Standing::Waiting { .. }));
        assert_eq!(seen(old, 4).await, Standing::Moved);
        // The calm is over; the visitor is called once, and only the newest device claims.
        let (mut called, mut ms) = (0, 5_002);
        while called == 0 && ms < 6_000 {
            seen(new, ms).await;
            called = line.admit(&sale, at(ms)).await.expect("a tick").called;
            ms += 100;
        }
        assert_eq!(called, 1);
        let claim = async |shown: Shown| line.claim(&sale, shown.visitor, shown.device, at(ms)).await.expect("asked");
        assert_eq!(claim(old).await, Standing::Moved);
        assert!(matches!(claim(new).await, Standing::Inside { .. }));
        let left = line.depart(&sale, old.visitor, Some(old.device), at(ms)).await.expect("asked");
        assert_eq!(left, Standing::Moved, "nor does the old one give anything up");
        assert!(matches!(seen(new, ms).await, Standing::Inside { .. }));
    });
}
