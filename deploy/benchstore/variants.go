package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// variant is another way to lay out the same rows, as a change of the CREATE
// statement of what is shipped.
type variant struct {
	name  string
	edits []func(string) string
}

// shippedSQL is how flows is made, a clause a line.
const shippedSQL = "SELECT formatQuery(create_table_query) FROM system.tables WHERE database = currentDatabase() AND name = 'flows'"

func (v variant) apply(create string) string {
	for _, e := range v.edits {
		create = e(create)
	}
	return create
}

// asVariant gives the statement the name of the table that takes its turn.
func asVariant(create string) string {
	return regexp.MustCompile(`^CREATE TABLE \S+( UUID '[^']*')?`).ReplaceAllString(create, "CREATE TABLE variant")
}

// replace puts text in place of what a pattern matches; a pattern that matches
// nothing is a mistake, which a comparison would hide.
func replace(pattern, text string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(s string) string {
		if !re.MatchString(s) {
			panic(fmt.Sprintf("variant: nothing matches %s", pattern))
		}
		return re.ReplaceAllString(s, text)
	}
}

// The clauses of SHOW CREATE TABLE that variants change.
func key(k string) func(string) string {
	return replace(`ORDER BY \(src_ip, dst_ip, dst_port, start\)\n`, "ORDER BY "+k+"\n")
}
func granularity(n int) func(string) string {
	return replace(`\nSETTINGS index_granularity = \d+`, fmt.Sprintf("\nSETTINGS index_granularity = %d", n))
}
func blocks(octets int) func(string) string {
	return replace(`\nSETTINGS `, fmt.Sprintf("\nSETTINGS min_compress_block_size = %d, max_compress_block_size = %d, ", octets, 16*octets))
}
func without(kind, name string) func(string) string {
	if kind == "PROJECTION" {
		return replace(`(?s),\n    PROJECTION `+name+`\n    \(.*?\n    \)( WITH SETTINGS \([^)]*\))?`, "")
	}
	return replace(`,\n    `+kind+` `+name+` [^\n]*?(,?)(\n)`, "$1$2")
}
func with(clause string) func(string) string {
	return replace(`\n\)\nENGINE`, ",\n    "+clause+"\n)\nENGINE")
}
func codec(column, c string) func(string) string {
	if c == "" { // the server's default
		return replace("(\n    `"+column+"` [^\n]*?) CODEC\\([^\n]*\\)(,?\n)", "$1$2")
	}
	return replace("(\n    `"+column+"` [^\n]*?) CODEC\\([^\n]*\\)(,?\n)", "$1 CODEC("+c+")$2")
}

func join(lists ...[]func(string) string) (all []func(string) string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func list(f ...func(string) string) []func(string) string { return f }

// lightweight projections hold a column and where in the part its rows are.
func lightweight(column string) func(string) string {
	return with("PROJECTION of_" + column + " INDEX " + column + " TYPE basic WITH SETTINGS (index_granularity = 1024)")
}

const hourKey = "(toStartOfHour(start), src_ip, dst_ip, dst_port, start)"

// alternatives to what is shipped, which comes first.
func alternatives() []variant {
	bare := list(without("PROJECTION", "by_dst_ip"), without("PROJECTION", "by_tls_sni"))
	noText := list(without("INDEX", "ja4"), without("INDEX", "hassh"), without("INDEX", "tls_cert_sha256"), without("INDEX", "http_host"), without("INDEX", "dns_names"))
	var firstCodecs, akvorado []func(string) string
	for _, c := range []string{"start", "end", "received"} {
		firstCodecs, akvorado = append(firstCodecs, codec(c, "Delta, ZSTD(1)")), append(akvorado, codec(c, "DoubleDelta, LZ4"))
	}
	for _, c := range []string{"seq", "row", "kafka_offset", "flow_id"} {
		firstCodecs, akvorado = append(firstCodecs, codec(c, "Delta, ZSTD(1)")), append(akvorado, codec(c, "T64, LZ4"))
	}
	for _, c := range []string{"community_hash", "response_us", "src_rtt_us", "transactions", "transaction_min_us", "transaction_mean_us", "transaction_max_us",
		"src_size_min", "dst_size_min", "first_sizes", "dns_names", "dns_answers"} {
		firstCodecs = append(firstCodecs, codec(c, "ZSTD(1)"))
	}
	names := []string{"probe", "site", "interface", "tunnel", "end_reason", "conn_state", "history", "app", "app_source", "tls_alpn", "ja3", "ja3s", "ja4",
		"http_method", "http_user_agent", "http_content_type", "ssh_client", "ssh_server", "hassh", "hassh_server", "service", "user", "domain",
		"app_host", "app_version", "client_software", "server_software"}
	for _, c := range names {
		firstCodecs = append(firstCodecs, codec(c, ""))
	}
	// Its other columns have no codec, which is LZ4; counters T64, addresses ZSTD.
	everythingElse := replace(" CODEC\\((ZSTD\\(\\d\\)|T64, ZSTD\\(1\\)|GCD, T64, ZSTD\\(1\\))\\)", "")
	for _, c := range []string{"src_packets", "dst_packets", "src_bytes", "dst_bytes", "src_frame_bytes", "dst_frame_bytes", "src_payload_bytes", "dst_payload_bytes"} {
		akvorado = append(akvorado, codec(c, "T64, LZ4"))
	}
	akvorado = append(akvorado, everythingElse,
		replace("\n    `(src_ip|dst_ip)` IPv6", "\n    `$1` IPv6 CODEC(ZSTD(1))"))
	akvoradoKey := key("(received, probe, interface)")
	return []variant{
		{"as shipped", nil},
		{"Akvorado's key and codecs", join(bare, noText, akvorado, list(akvoradoKey, granularity(8192)))},
		{"first schema: key by hour, its codecs, 8192", join(bare, noText, firstCodecs, list(key(hourKey), granularity(8192)))},
		{"key by hour, granularity 1024", list(key(hourKey))},
		{"compressed in blocks of 16 kB", list(blocks(16384))},
		{"without projections", bare},
		{"without projections and exact indexes", join(bare, noText)},
		{"projections with granularity 4096", list(replace(`WITH SETTINGS \(index_granularity = 1024\)`, "WITH SETTINGS (index_granularity = 4096)"))},
		{"granularity 8192", list(granularity(8192))},
		{"lightweight projections of dst_ip, tls_sni", join(bare, list(lightweight("dst_ip"), lightweight("tls_sni")))},
		{"bloom filters for exact indexes", join(bare, noText, list(
			with("INDEX ja4 ja4 TYPE bloom_filter(0.01) GRANULARITY 1"), with("INDEX hassh hassh TYPE bloom_filter(0.01) GRANULARITY 1"),
			with("INDEX tls_cert_sha256 tls_cert_sha256 TYPE bloom_filter(0.01) GRANULARITY 1"), with("INDEX http_host http_host TYPE bloom_filter(0.01) GRANULARITY 1"),
			with("INDEX dns_names dns_names TYPE bloom_filter(0.01) GRANULARITY 1")))},
		{"Akvorado's key, shipped codecs", join(bare, noText, list(akvoradoKey, granularity(8192)))},
		{"compressed in blocks of 8 kB", list(blocks(8192))},
		{"exact index of tls_sni for its projection", join(bare, list(without("INDEX", "tls_sni"), with("INDEX tls_sni tls_sni TYPE text(tokenizer = 'array') GRANULARITY 1")))},
		{"set(100) and minmax of addresses for projections", join(bare, list(with("INDEX set_dst dst_ip TYPE set(100) GRANULARITY 1"), with("INDEX min_dst dst_ip TYPE minmax GRANULARITY 1")))},
		{"granularity 2048", list(granularity(2048))},
		{"key by 6 hours, granularity 1024", list(key("(toStartOfInterval(start, toIntervalHour(6)), src_ip, dst_ip, dst_port, start)"))},
		{"key (dst_ip, src_ip, start)", list(key("(dst_ip, src_ip, start)"))},
		{"shipped key, codecs of the first schema", join(bare, noText, firstCodecs)},
		{"strings for LowCardinality of ja3, ja4, history", join(bare, noText, list(replace("`(ja3|ja4|history)` LowCardinality\\(String\\)", "`$1` String")))},
		{"ZSTD(3) for all columns", join(bare, noText, list(replace(`ZSTD\(1\)`, "ZSTD(3)")))},
	}
}

// lookups are the questions that variants are asked.
var lookups = []string{"01_client.sql", "02_server.sql", "04_server_name.sql", "05_ja4.sql", "22_hour.sql"}

// variants fills each alternative with the same rows and prints what they take, cost and answer.
func variants(ctx context.Context, out io.Writer, db driver.Conn, o options) error {
	all, err := readQuestions(ctx, db, o.generated)
	if err != nil {
		return err
	}
	var shipped string
	if err := db.QueryRow(ctx, shippedSQL).Scan(&shipped); err != nil {
		return fmt.Errorf("read how flows is made: %w", err)
	}
	perDay := max(1, o.rows/90)
	days := min(o.generated, max(1, o.variantRows/perDay))
	if o.variantRows == 0 {
		days = o.generated
	}
	fmt.Fprintf(out, "\nAlternatives, %d days of it. Look-ups: CPU ms / rows read / MB read, warm.\n\n| layout | octets a row | indexes | projections | marks | µs of CPU to insert a row |", days)
	for _, l := range lookups {
		for _, q := range all {
			if q.file == l {
				fmt.Fprintf(out, " %s |", q.title)
			}
		}
	}
	fmt.Fprintln(out, "\n| --- |"+strings.Repeat(" ---: |", 5+len(lookups)))
	wanted, err := regexp.Compile(o.match)
	if err != nil {
		return fmt.Errorf("-match: %w", err)
	}
	for _, v := range alternatives() {
		if !wanted.MatchString(v.name) {
			continue
		}
		if err := one(ctx, out, db, v.name, v.apply(shipped), days, all); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

func one(ctx context.Context, out io.Writer, db driver.Conn, name, create string, days int, all []question) error {
	if err := db.Exec(ctx, "DROP TABLE IF EXISTS variant SYNC"); err != nil {
		return err
	}
	if err := db.Exec(ctx, asVariant(create)); err != nil {
		return err
	}
	defer db.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS variant SYNC")
	if err := db.Exec(ctx, "SYSTEM STOP MERGES variant"); err != nil {
		return err
	}
	oneBlock := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_insert_threads": 1, "max_insert_block_size": 100_000_000,
		"min_insert_block_size_rows": 100_000_000, "min_insert_block_size_bytes": 16 << 30, "max_partitions_per_insert_block": 0}))
	var spent float64
	for day := range days {
		c, err := ask(oneBlock, db, fmt.Sprintf("INSERT INTO variant (%s) SELECT %[1]s FROM flows WHERE toDate(start) = toDate(%d)", allColumns(), firstDay+day), nil)
		if err != nil {
			return err
		}
		spent += c.cpu.Seconds()
	}
	s, err := sizeOf(ctx, db, "variant")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %.2f | %.1f |", name, s.data/s.rows, s.indexes/s.rows, s.projections/s.rows, s.marks/s.rows, 1e6*spent/s.rows)
	for _, l := range lookups {
		for _, q := range all {
			if q.file != l {
				continue
			}
			sql := strings.ReplaceAll(q.sql, "FROM flows", "FROM variant")
			var best cost
			for i := range 3 {
				c, err := ask(ctx, db, sql, q.params)
				if err != nil {
					return err
				}
				if i == 0 || c.cpu < best.cpu {
					best = c
				}
			}
			fmt.Fprintf(out, " %.0f / %s / %.1f |", ms(best.cpu), count(float64(best.read)), float64(best.bytes)/1e6)
		}
	}
	fmt.Fprintln(out)
	return nil
}
