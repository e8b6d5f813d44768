//! What Postgres knows of the sizes of tables.
//!
//! A sale begins with empty tables. Of these any plan looks as good as any other, one that reads a whole table or
//! walks through all of an event's rows too, and a connection keeps the plan that it made. Postgres counts anew once a
//! minute at most; in the first minutes of a sale a table doubles more often than that. A new count makes every
//! connection plan anew.

use sqlx::{AssertSqlSafe, PgPool};

use crate::error::Error;

/// A table that has grown to more rows than this, and to more than twice those that are known, is counted again.
const FEWEST_ROWS: i64 = 200;
/// Most tables counted in one go.
const TABLES: i64 = 16;

/// Has tables counted that have grown manifold since they were counted; returns how many. Counting takes a sample,
/// and nobody waits for it.
///
/// # Errors
/// When the database cannot be had.
pub async fn refresh(pool: &PgPool) -> Result<usize, Error> {
    let mut conn = pool.acquire().await?;
    let grown = sqlx::query_scalar!(
        r#"select quote_ident(t.relname) as "name!" from pg_stat_user_tables t join pg_class c on c.oid = t.relid
           where t.schemaname = current_schema()
             and t.n_live_tup > $1::bigint + 2 * greatest(c.reltuples, 0)
           order by t.n_live_tup limit $2"#,
        FEWEST_ROWS,
        TABLES
    );
    let grown = grown.fetch_all(&mut *conn).await?;
    for name in &grown {
        sqlx::query(AssertSqlSafe(format!("analyze {name}"))).execute(&mut *conn).await?;
    }
    Ok(grown.len())
}
