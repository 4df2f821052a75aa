package retain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// Place of a backup, as the server sees it: file:PATH below its backups
// directory (backups.allowed_path), disk:NAME/PATH on one of its disks, or an
// http(s) address of a bucket, with s3: before it. Credentials of buckets belong
// into the server's configuration.
func destination(place string) (string, error) {
	kind, rest, ok := strings.Cut(place, ":")
	hint := "file:NAME, disk:NAME/PATH or s3:https://…"
	if !ok || rest == "" {
		return "", kit.Hint(fmt.Errorf("backup place %q", place), hint)
	}
	switch kind {
	case "file":
		return "File(" + clickhouse.Literal(rest) + ")", nil
	case "disk":
		disk, path, _ := strings.Cut(rest, "/")
		return "Disk(" + clickhouse.Literal(disk) + ", " + clickhouse.Literal(path) + ")", nil
	case "s3":
		return "S3(" + clickhouse.Literal(rest) + ")", nil
	}
	return "", kit.Hint(fmt.Errorf("backup place %q", place), hint)
}

// Backup writes the whole database to a place; base is the place of an earlier
// backup, of which only the differences are written, "" none. What is inserted
// meanwhile may be in it or not: a block's rows are in it all or none, and what
// is missing comes again from Kafka after a Restore.
func Backup(ctx context.Context, conn driver.Conn, place, base string) error {
	to, err := destination(place)
	if err != nil {
		return err
	}
	settings := ""
	if base != "" {
		from, err := destination(base)
		if err != nil {
			return err
		}
		settings = " SETTINGS base_backup = " + from
	}
	name, err := database(ctx, conn)
	if err != nil {
		return err
	}
	if err := conn.Exec(ctx, "BACKUP DATABASE "+clickhouse.Identifier(name)+" TO "+to+settings); err != nil {
		return fmt.Errorf("back up to %s: %w", place, err)
	}
	return nil
}

// Restore brings back the database name from a backup of it into the database of
// conn, which must not hold tables yet.
func Restore(ctx context.Context, conn driver.Conn, place, name string) error {
	from, err := destination(place)
	if err != nil {
		return err
	}
	into, err := database(ctx, conn)
	if err != nil {
		return err
	}
	var tables uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase()").Scan(&tables); err != nil {
		return fmt.Errorf("look for tables: %w", err)
	}
	if tables > 0 {
		return kit.Hint(errors.New("restore: the database holds tables"), "restore into an empty database, before a collector has run there")
	}
	if err := conn.Exec(ctx, "RESTORE DATABASE "+clickhouse.Identifier(name)+" AS "+clickhouse.Identifier(into)+" FROM "+from); err != nil {
		return fmt.Errorf("restore from %s: %w", place, err)
	}
	return nil
}

func database(ctx context.Context, conn driver.Conn) (name string, err error) {
	if err := conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&name); err != nil {
		return "", fmt.Errorf("ask for the database: %w", err)
	}
	return name, nil
}
