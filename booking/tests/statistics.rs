//! Goal: what Postgres knows of a table keeps up with a sale that fills it. Method: rows in bulk, and what is known then.

use booking::storage::statistics::refresh;

use crate::support::{Options, TestApp, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_grows_is_counted_again_and_one_that_stays_is_not() {
    let app = TestApp::with(Options::default()).await;
    let known = async || -> i64 {
        let query = "select reltuples::bigint from pg_class where oid = 'provider_event'::regclass";
        sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap()
    };
    let grow = async |name: &str, rows: i32| {
        let query = "insert into provider_event (provider, provider_event) select $1, n from generate_series(1, $2) n";
        sqlx::query(query).bind(name).bind(rows).execute(app.db()).await.unwrap();
    };
    grow("few", 100).await;
    grow("many", 1900).await;
    until("the new rows are known", || async {
        refresh(app.db()).await.unwrap();
        (known().await == 2000).then_some(())
    })
    .await;
    // Half as many again is no reason.
    grow("more", 1000).await;
    until("the server has noticed them", || async {
        let query = "select n_live_tup from pg_stat_user_tables where relname = 'provider_event'";
        let live: i64 = sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap();
        (live >= 3000).then_some(())
    })
    .await;
    assert_eq!(refresh(app.db()).await.unwrap(), 0);
    app.check().await;
}
