package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/local"
)

// user is one user of clickhouse_users.xml.
type user struct {
	XMLName xml.Name
	Hash    string   `xml:"password_sha256_hex"`
	IPs     []string `xml:"networks>ip"`
	Grants  []string `xml:"grants>query"`
}

func users(t *testing.T, dir string) map[string]user {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "clickhouse_users.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Users struct {
			List []user `xml:",any"`
		} `xml:"users"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	list := map[string]user{}
	for _, u := range doc.Users.List {
		list[u.XMLName.Local] = u
	}
	return list
}

func password(t *testing.T, dir, user string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "clickhouse_"+user+"_password"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestSecrets(t *testing.T) {
	dir := secrets(t)
	// The composition mounts what the script makes, and nothing else.
	declared := composition(t).Secrets
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(declared) {
		t.Fatalf("%d secrets made, %d declared, %v", len(entries), len(declared), err)
	}
	before := map[string]string{}
	for _, s := range declared {
		name := filepath.Base(s.File)
		if filepath.Dir(s.File) != filepath.Join(root(t), "deploy/docker/secrets") {
			t.Errorf("secret %s is taken from %s", name, s.File)
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if before[name] = string(text); strings.Contains(before[name], "correct horse") {
			t.Errorf("%s holds the console's password", name)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	all := users(t, dir)
	for _, name := range []string{"collector", "analyzer"} {
		secret := password(t, dir, name)
		sum := sha256.Sum256([]byte(secret))
		if len(secret) != 32 || all[name].Hash != hex.EncodeToString(sum[:]) || strings.Contains(before["clickhouse_users.xml"], secret) {
			t.Errorf("%s: a password of %d letters, hash %s", name, len(secret), all[name].Hash)
		}
	}
	if d := all["default"]; strings.Join(d.IPs, " ") != "127.0.0.1 ::1" {
		t.Errorf("the user without a password may come from %v", d.IPs)
	}

	runSecrets(t, dir, "another\n")
	for name, text := range before {
		if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(now) != text {
			t.Errorf("%s changed in a second run: %v", name, err)
		}
	}
}

func TestSecretsNeedAPassword(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "./secrets.sh", dir)
	cmd.Env = append(os.Environ(), "TAPWATCH_ANALYZER="+filepath.Join(programs(t), "analyzer"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "needs a password") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "console_password_hash")); err == nil {
		t.Error("a hash of nothing was written")
	}
}

// The users of the composition may do what their services do, on a real
// server, and not more.
func TestRights(t *testing.T) {
	dir := secrets(t)
	if _, _, err := local.FindClickHouse(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	state, err := os.MkdirTemp("", "tapwatch-rights-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	cfg := local.ClickHouseConfig{Dir: state, MaxMemory: 1 << 30, KeepFree: -1}
	for name, u := range users(t, dir) {
		if name != "default" {
			cfg.Users = append(cfg.Users, local.ClickHouseUser{Name: name, Password: password(t, dir, name), Grants: u.Grants})
		}
	}
	server, err := local.StartClickHouse(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	login := func(name string) clickhouse.Config {
		return clickhouse.Config{Addr: []string{server.Addr()}, Username: name, Password: config.Secret(password(t, dir, name))}
	}
	open := func(name string) driver.Conn {
		conn, err := login(name).Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	admin, err := clickhouse.Config{Addr: []string{server.Addr()}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	// In the composition the collector makes the database too.
	if err := admin.Exec(t.Context(), "DROP DATABASE tapwatch"); err != nil {
		t.Fatal(err)
	}
	store := collector.DefaultConfig()
	store.ClickHouse = login("collector")
	if err := collector.Migrate(t.Context(), store); err != nil {
		t.Fatalf("the collector cannot make its tables: %v", err)
	}
	allowed := map[string][]string{
		"collector": {
			"INSERT INTO flows (probe) VALUES ('x')", "SELECT count() FROM flows", "SELECT count() FROM system.processes",
			"DELETE FROM flows_1m_builds WHERE build = 0", "SELECT * FROM system.parts LIMIT 1",
		},
		"analyzer": {
			"SELECT count() FROM flows", "SELECT count() FROM ledger", "INSERT INTO alerts (id) VALUES ('x')",
			"INSERT INTO job_runs (detector) VALUES ('x')", "INSERT INTO deliveries (alert) VALUES ('x')",
		},
	}
	denied := []string{
		"CREATE DATABASE other", "CREATE USER eve", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
		"SELECT * FROM remote('127.0.0.1:1', system.one)", "SYSTEM SHUTDOWN",
	}
	only := map[string][]string{"analyzer": {"DROP TABLE flows", "ALTER TABLE flows DELETE WHERE 1", "TRUNCATE TABLE flows", "CREATE TABLE t (a UInt8) ENGINE = Memory"}}
	for name, statements := range allowed {
		conn := open(name)
		for _, statement := range statements {
			if err := conn.Exec(t.Context(), statement); err != nil {
				t.Errorf("%s may not: %s: %v", name, statement, err)
			}
		}
		for _, statement := range append(only[name], denied...) {
			if err := conn.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "code: 497") {
				t.Errorf("%s: %s: %v; want code 497, ACCESS_DENIED", name, statement, err)
			}
		}
	}
}
