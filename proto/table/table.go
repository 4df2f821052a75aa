// Package table holds the ClickHouse schema as numbered migrations and brings a
// database to the version this build needs. The columns of `flows` are those of
// flow.Record in its order, after the identity of the row; a test holds them
// equal.
package table

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed migrations/*.sql
var files embed.FS

// Migration is one numbered step. Every statement can be run again without
// effect, so two collectors that start together may both run it, and a step
// that was cut short is simply repeated.
type Migration struct {
	Version    int
	Name       string
	Checksum   string // SHA-256 of the file, hex
	Statements []string
}

// Errors that callers tell apart.
var (
	// ErrNewer: a later build has migrated this database.
	ErrNewer = errors.New("the database has a newer schema than this build")
	// ErrChanged: an applied migration is not the one of this build.
	ErrChanged = errors.New("an applied migration differs from the one of this build")
	// ErrPending: see Check.
	ErrPending = errors.New("the database schema is older than this build needs")
)

// Migrations returns all steps in order.
func Migrations() ([]Migration, error) { return read(files) }

func read(fsys fs.FS) ([]Migration, error) {
	names, err := fs.Glob(fsys, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []Migration
	for i, file := range names {
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, err
		}
		base := strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql")
		number, name, _ := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s: expected number %04d", file, i+1)
		}
		sum := sha256.Sum256(text)
		all = append(all, Migration{version, name, hex.EncodeToString(sum[:]), statements(string(text))})
	}
	return all, nil
}

var comment = regexp.MustCompile(`(?m)--[^\n']*$`)

// statements splits a file at semicolons; migrations hold none within a string.
func statements(text string) []string {
	var list []string
	for s := range strings.SplitSeq(comment.ReplaceAllString(text, ""), ";") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list
}

const versions = `CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, checksum String, applied DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY version`

// Migrate brings the connection's database to the version of this build. It is
// safe to run by several processes at once and after a crash at any point.
func Migrate(ctx context.Context, conn driver.Conn) error {
	all, err := Migrations()
	if err != nil {
		return err
	}
	return migrate(ctx, conn, all)
}

func migrate(ctx context.Context, conn driver.Conn, all []Migration) error {
	if err := conn.Exec(ctx, versions); err != nil {
		return fmt.Errorf("create schema_migrations: %w", err)
	}
	applied, err := appliedVersions(ctx, conn)
	if err != nil {
		return err
	}
	if err := compare(all, applied); err != nil && !errors.Is(err, ErrPending) {
		return err
	}
	for _, m := range all {
		if _, done := applied[m.Version]; done {
			continue
		}
		for i, s := range m.Statements {
			if err := conn.Exec(ctx, fresh(s)); err != nil {
				return fmt.Errorf("migration %04d_%s statement %d: %w", m.Version, m.Name, i+1, err)
			}
		}
		err := conn.Exec(ctx, "INSERT INTO schema_migrations (version, name, checksum) SETTINGS async_insert = 0 VALUES (@version, @name, @checksum)",
			clickhouse.Named("version", m.Version), clickhouse.Named("name", m.Name), clickhouse.Named("checksum", m.Checksum))
		if err != nil {
			return fmt.Errorf("record migration %04d_%s: %w", m.Version, m.Name, err)
		}
	}
	return nil
}

// Check reports whether the database has just the schema of this build, for
// services that do not migrate: nil, ErrPending, ErrNewer or ErrChanged.
func Check(ctx context.Context, conn driver.Conn) error {
	all, err := Migrations()
	if err != nil {
		return err
	}
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'").Scan(&n); err != nil {
		return fmt.Errorf("look for schema_migrations: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("%w: it is empty", ErrPending)
	}
	applied, err := appliedVersions(ctx, conn)
	if err != nil {
		return err
	}
	return compare(all, applied)
}

func compare(all []Migration, applied map[int]string) error {
	for version := range applied {
		if version > len(all) {
			return fmt.Errorf("%w: version %d, this build knows %d", ErrNewer, version, len(all))
		}
	}
	var pending error
	for _, m := range all {
		switch sum, done := applied[m.Version]; {
		case !done:
			pending = fmt.Errorf("%w: migration %04d_%s is missing", ErrPending, m.Version, m.Name)
		case sum != m.Checksum:
			return fmt.Errorf("%w: %04d_%s", ErrChanged, m.Version, m.Name)
		}
	}
	return pending
}

func appliedVersions(ctx context.Context, conn driver.Conn) (map[int]string, error) {
	rows, err := conn.Query(ctx, "SELECT version, checksum FROM schema_migrations FINAL")
	if err != nil {
		return nil, fmt.Errorf("read schema_migrations: %w", err)
	}
	defer rows.Close()
	applied := make(map[int]string)
	for rows.Next() {
		var version uint32
		var sum string
		if err := rows.Scan(&version, &sum); err != nil {
			return nil, fmt.Errorf("read schema_migrations: %w", err)
		}
		applied[int(version)] = sum
	}
	return applied, rows.Err()
}
