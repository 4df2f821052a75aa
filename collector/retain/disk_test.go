package retain

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

// server is a ClickHouse with disks of its own; other tests share one without.
func server(t *testing.T, extra string) driver.Conn {
	t.Helper()
	localtest.TestClickHouse(t) // skips where there is none
	dir := filepath.Join(t.TempDir(), "clickhouse")
	if err := os.MkdirAll(filepath.Join(dir, "config.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.d", "disks.xml"), []byte("<clickhouse>"+extra+"</clickhouse>"), 0o600); err != nil {
		t.Fatal(err)
	}
	ch, err := local.StartClickHouse(t.Context(), local.ClickHouseConfig{Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ch.Close() })
	conn, err := clickhouse.Config{Addr: []string{ch.Addr()}, Database: local.Database}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// found says whether some file below dir holds text.
func found(t *testing.T, dir, text string) bool {
	t.Helper()
	hit := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		hit = hit || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hit
}

// As README.md tells: all tables on ClickHouse's encrypted disk.
func TestEncryptedDisk(t *testing.T) {
	plain, secret := t.TempDir(), t.TempDir()
	for dir, policy := range map[string]string{plain: "plain", secret: "encrypted"} {
		conn := server(t, `<storage_configuration>
    <disks>
        <below><type>local</type><path>`+dir+`/</path></below>
        <cipher><type>encrypted</type><disk>below</disk><algorithm>AES_256_CTR</algorithm>
            <key_hex>000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f</key_hex></cipher>
    </disks>
    <policies>
        <plain><volumes><main><disk>below</disk></main></volumes></plain>
        <encrypted><volumes><main><disk>cipher</disk></main></volumes></encrypted>
    </policies>
</storage_configuration>
<merge_tree><storage_policy>`+policy+`</storage_policy></merge_tree>`)
		localtest.Exec(t, conn, "ALTER TABLE flows MODIFY COLUMN tls_sni CODEC(NONE)")
		flows(t, conn, 1, time.Now().UTC().Format(layoutDay), 0, 50)
		localtest.Expect(t, conn, "SELECT count() FROM flows WHERE tls_sni = 'a.example'", 8)
		if got, want := found(t, dir, "a.example"), policy == "plain"; got != want {
			t.Errorf("on the %s disk the name is found: %v", policy, got)
		}
	}
}

// As README.md tells: parts move to a slower disk, online, and are read from there.
func TestColdVolume(t *testing.T) {
	cold := t.TempDir()
	conn := server(t, `<storage_configuration>
    <disks><cold><type>local</type><path>`+cold+`/</path></cold></disks>
    <policies><tiered><volumes><default><disk>default</disk></default><cold><disk>cold</disk></cold></volumes></tiered></policies>
</storage_configuration>`)
	today := time.Now().UTC().Format(layoutDay)
	old := time.Now().AddDate(0, 0, -40).UTC().Format(layoutDay)
	flows(t, conn, 1, today, 0, 50)
	flows(t, conn, 2, old, 40, 50)
	for _, sql := range []string{
		"ALTER TABLE flows MODIFY SETTING storage_policy = 'tiered'",
		"ALTER TABLE flows MODIFY TTL toDateTime(received) + INTERVAL 30 DAY TO VOLUME 'cold'",
	} {
		localtest.Exec(t, conn, sql)
	}
	pass(t, keeper(t, conn, DefaultOptions())) // leaves that TTL alone
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var moved uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active AND disk_name = 'cold'").Scan(&moved); err != nil {
			t.Fatal(err)
		}
		if moved == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d parts have moved, want 1", moved)
		}
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows", 100)
}
