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
)

// user is one user of clickhouse_users.xml.
type user struct {
	XMLName xml.Name
	Hash    string   `xml:"password_sha256_hex"`
	IPs     []string `xml:"networks>ip"`
	Profile string   `xml:"profile"`
	Grants  []string `xml:"grants>query"`

	settings map[string]string // of the profile
}

func users(t *testing.T, dir string) map[string]user {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "clickhouse_users.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Profiles struct {
			List []struct {
				XMLName  xml.Name
				Settings []struct {
					XMLName xml.Name
					Value   string `xml:",chardata"`
				} `xml:",any"`
			} `xml:",any"`
		} `xml:"profiles"`
		Users struct {
			List []user `xml:",any"`
		} `xml:"users"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	list := map[string]user{}
	for _, u := range doc.Users.List {
		u.settings = map[string]string{}
		for _, p := range doc.Profiles.List {
			for _, s := range p.Settings {
				if p.XMLName.Local == u.Profile {
					u.settings[s.XMLName.Local] = s.Value
				}
			}
		}
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
	// The composition mounts what the script makes, but for the password of people.
	declared := composition(t).Secrets
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(declared)+1 {
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
	for _, name := range []string{"migrator", "writer", "reader", "analyzer"} {
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
