package table

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// In a cluster each shard has a database with the tables of the migrations, under
// their names: what a collector writes, counts and rolls up is of one shard. A
// second database, for readers, has a Distributed table of the same name for
// each of them, so queries are the same on one server and on a hundred.

// MigrateReplica is Migrate for a server of a shard with replicas: tables are
// ReplicatedMergeTree, by the server's macros {shard} and {replica}. It has to
// run on each replica; a new one gets its tables, and with them its rows, by it.
func MigrateReplica(ctx context.Context, conn driver.Conn) error {
	all, err := Migrations()
	if err != nil {
		return err
	}
	for i := range all {
		for j, s := range all[i].Statements {
			all[i].Statements[j] = Replicated(s)
		}
	}
	return migrate(ctx, conn, all)
}

var (
	engine = regexp.MustCompile(`(?m)^ENGINE = ((?:Replacing|Aggregating|Summing)?MergeTree)(?:\(([^()]*)\))?`)
	create = regexp.MustCompile(`(?m)^CREATE TABLE IF NOT EXISTS \w+\s*\(`)
)

// Replicated returns a statement of a migration as it is on a replica. Tables of
// other engines than MergeTree's, views and changes are the same there. (The
// table schema_migrations is none of a migration's, and each server's own: it
// says what has been done on that server.)
func Replicated(statement string) string {
	if !create.MatchString(statement) {
		return statement
	}
	replicated := engine.ReplaceAllStringFunc(statement, func(s string) string {
		m := engine.FindStringSubmatch(s)
		arguments := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
		if m[2] != "" {
			arguments += ", " + m[2]
		}
		return "ENGINE = Replicated" + m[1] + "(" + arguments + ")"
	})
	if replicated != statement && strings.Contains(statement, "non_replicated_deduplication_window") {
		// Tokens are kept by number alone: the time is ten years.
		replicated += ", replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 315360000"
	}
	return replicated
}

// distributed lists the tables of the database, and leaves out those whose
// Distributed table is as it should be.
const distributed = `
WITH columns AS
(
    SELECT database, table, groupArray((name, type, default_kind, default_expression, comment)) AS list
    FROM (SELECT * FROM system.columns WHERE database IN (currentDatabase(), {readers:String}) ORDER BY position)
    GROUP BY database, table
)
SELECT t.name, t.engine, t.as_select, t.create_table_query, match(t.as_select, '\\{\\w+:\\w+\\}') AS parameters
FROM (SELECT * FROM system.tables WHERE database = currentDatabase() AND engine != 'Join' AND NOT startsWith(name, '.')) AS t
LEFT JOIN (SELECT name FROM system.tables WHERE database = {readers:String} AND startsWith(engine_full, {engine:String})) AS there ON there.name = t.name
LEFT JOIN (SELECT table, list FROM columns WHERE database = currentDatabase()) AS own ON own.table = t.name
LEFT JOIN (SELECT table, list FROM columns WHERE database = {readers:String}) AS have ON have.table = t.name
WHERE there.name = '' OR own.list != have.list
ORDER BY parameters OR t.engine = 'Dictionary', t.name`

// Distribute makes in the database called readers a Distributed table for each
// table and view of the connection's own database, over all shards of the
// cluster called so in the server's remote_servers. What is inserted there goes
// to the first shard. It may be repeated, and has to be after each Migrate; what
// is as it should be is left alone.
//
// Views that take parameters, and dictionaries, are made again on top of those.
func Distribute(ctx context.Context, conn driver.Conn, cluster, readers string) error {
	var own string
	if err := conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&own); err != nil {
		return fmt.Errorf("ask for the database: %w", err)
	}
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+clickhouse.Identifier(readers)); err != nil {
		return fmt.Errorf("create database %s: %w", readers, err)
	}
	rows, err := conn.Query(ctx, distributed, driver.NamedValue{Name: "readers", Value: readers}, driver.NamedValue{Name: "engine", Value: "Distributed(" + clickhouse.Literal(cluster) + ", " + clickhouse.Literal(own) + ", "})
	if err != nil {
		return fmt.Errorf("list the tables of %s: %w", own, err)
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var name, kind, text, whole string
		var parameters bool
		if err := rows.Scan(&name, &kind, &text, &whole, &parameters); err != nil {
			return fmt.Errorf("list the tables of %s: %w", own, err)
		}
		at := clickhouse.Identifier(readers) + "." + clickhouse.Identifier(name)
		switch {
		case kind == "Dictionary":
			statements = append(statements, strings.Replace(whole, "CREATE DICTIONARY "+own+"."+name, "CREATE OR REPLACE DICTIONARY "+at, 1))
		case parameters:
			statements = append(statements, "CREATE OR REPLACE VIEW "+at+" AS "+strings.ReplaceAll(text, own+".", readers+"."))
		default:
			statements = append(statements, "CREATE OR REPLACE TABLE "+at+" AS "+clickhouse.Identifier(own)+"."+clickhouse.Identifier(name)+
				" ENGINE = Distributed("+clickhouse.Literal(cluster)+", "+clickhouse.Literal(own)+", "+clickhouse.Literal(name)+", 0)")
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the tables of %s: %w", own, err)
	}
	for _, s := range statements {
		if err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("make %.80s: %w", s, err)
		}
	}
	return nil
}
