package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Database is the database that a started ClickHouse has: ENGINE=Atomic, which
// survives kill -9, unlike the `default` database of the embedded server.
const Database = "tapwatch"

// Defaults of ClickHouseConfig.
const (
	maxMemoryDefault = 4 << 30 // bytes; a laptop's share, see defaultMemory
	keepFreeDefault  = 1 << 30 // bytes
	// instanceMacro carries a random token, so that readiness is never taken
	// from somebody else's server on the same port.
	instanceMacro = "tapwatch_instance"
)

// ClickHouseConfig says how to run ClickHouse. Only Dir is required.
type ClickHouseConfig struct {
	// Dir holds state, log and configuration; it is created, and locked while
	// running. The server merges what stands in its config.d/*.xml, such as a
	// storage_configuration with an encrypted disk.
	Dir      string
	TCPPort  int // native protocol; 0 = any free port
	HTTPPort int // HTTP; 0 = any free port

	// MaxMemory caps the server, in bytes (max_server_memory_usage); queries
	// beyond it fail, the server lives on. 0 = 4 GiB or half of the machine's
	// memory, whichever is less.
	MaxMemory int64
	// KeepFree is the space in bytes that inserts and merges leave on the disk
	// of Dir: beyond it they are refused with code 243 (NOT_ENOUGH_SPACE) and
	// can be repeated. A disk that really fills up damages parts that were
	// good. 0 = 1 GiB or a twentieth of the disk, whichever is less; negative =
	// no guard.
	KeepFree int64

	// Library is the path of libchdb.so or of a clickhouse binary (told apart
	// by the suffix .so). "" = whatever FindClickHouse finds.
	Library string
	// Exec are the words that execute this program again as the child; it must
	// reach RunChildIfAsked or ClickHouseChild. Empty = os.Executable().
	Exec []string

	// Users exist besides `default`, which may do all but manage users, has no password, and is
	// reachable from this machine only. The embedded server has no CREATE USER.
	Users []ClickHouseUser
}

// ClickHouseUser is an additional user of the server, allowed from this
// machine only.
type ClickHouseUser struct {
	Name     string   // as an XML name: letters, digits, '_' and '-', not first a digit
	Password string   // stored hashed (SHA-256); "" = no password
	Grants   []string // complete statements such as "GRANT SELECT ON tapwatch.*"; none = all rights
	ReadOnly bool     // readonly=2: settings may be changed, data may not
	// Settings of the user's profile, such as max_execution_time; with readonly=1
	// the user cannot change any.
	Settings map[string]string
}

// defaultMemory is the cap for a machine that says nothing else.
func defaultMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return maxMemoryDefault
	}
	half := int64(info.Totalram) * int64(info.Unit) / 2
	return min(maxMemoryDefault, max(half, 256<<20))
}

// diskSpace returns how many bytes the disk of dir has, and how many of them
// we may still write.
func diskSpace(dir string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// insertGuard is the free space in bytes below which inserts are refused: more
// than KeepFree, so that merges, which make room, go on a little longer.
func insertGuard(keepFree int64) int64 { return keepFree + keepFree/4 }

// usersFile is the name of the users' file below the state directory.
const usersFile = "users.xml"

// writeConfig writes the server's configuration below cfg.Dir and returns the
// name of its main file. Only we may read it, for the users' password hashes.
func writeConfig(cfg ClickHouseConfig, instance string) (string, error) {
	users, err := usersXML(cfg.Users)
	if err != nil {
		return "", err
	}
	name := filepath.Join(cfg.Dir, "config.xml")
	if err := replaceFile(filepath.Join(cfg.Dir, usersFile), users); err != nil {
		return "", fmt.Errorf("write clickhouse users: %w", err)
	}
	if err := replaceFile(name, configXML(cfg, instance)); err != nil {
		return "", fmt.Errorf("write clickhouse configuration: %w", err)
	}
	return name, nil
}

// replaceFile leaves the old content or the new one, never half of it.
func replaceFile(name string, text []byte) error {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// configXML is the configuration file, the same for library and binary.
func configXML(cfg ClickHouseConfig, instance string) []byte {
	var x xmlWriter
	x.open("clickhouse")
	x.elem("path", filepath.Join(cfg.Dir, "data")+"/")
	for _, name := range []string{"tmp_path", "user_files_path", "format_schema_path"} {
		x.elem(name, filepath.Join(cfg.Dir, "data", strings.TrimSuffix(name, "_path"))+"/")
	}
	x.elem("listen_host", loopback)
	x.elem("tcp_port", cfg.TCPPort)
	x.elem("http_port", cfg.HTTPPort)
	x.elem("max_server_memory_usage", cfg.MaxMemory)
	// Caches are sized for servers with terabytes; these are plenty here.
	x.elem("mark_cache_size", 128<<20)
	x.elem("uncompressed_cache_size", 0)
	x.elem("max_connections", 256)
	// Without it a crash dump or a query text could leave the machine.
	x.open("send_crash_reports")
	x.elem("enabled", false)
	x.shut("send_crash_reports")

	x.open("logger")
	x.elem("level", "warning")
	x.elem("log", filepath.Join(cfg.Dir, "clickhouse.log"))
	x.elem("size", "16M")
	x.elem("count", 2)
	x.elem("console", 0)
	x.shut("logger")

	x.open("macros")
	x.elem(instanceMacro, instance)
	x.shut("macros")

	if cfg.KeepFree > 0 {
		// The disk refuses to reserve space, for merges as for inserts.
		x.open("storage_configuration", "disks", "default")
		x.elem("keep_free_space_bytes", cfg.KeepFree)
		x.shut("default", "disks", "storage_configuration")
		x.open("merge_tree")
		x.elem("min_free_disk_bytes_to_perform_insert", insertGuard(cfg.KeepFree))
		x.shut("merge_tree")
	}

	x.open("backups")
	x.elem("allowed_path", filepath.Join(cfg.Dir, "backups")+"/")
	x.shut("backups")
	x.elem("users_config", filepath.Join(cfg.Dir, usersFile))
	x.shut("clickhouse")
	return []byte(x.String())
}

// usersXML is the file of users, profiles and quotas. The embedded server
// reads them from a file of their own only.
func usersXML(list []ClickHouseUser) ([]byte, error) {
	var x xmlWriter
	x.open("clickhouse")
	x.open("profiles", "default")
	// An asynchronous insert is acknowledged and deduplicated differently.
	x.elem("async_insert", 0)
	x.shut("default")
	x.open("readonly")
	x.elem("async_insert", 0)
	x.elem("readonly", 2)
	x.shut("readonly")
	for _, u := range list {
		if len(u.Settings) == 0 {
			continue
		}
		x.open(profileOf(u))
		for _, name := range slices.Sorted(maps.Keys(u.Settings)) {
			if !xmlName(name) {
				return nil, fmt.Errorf("configure clickhouse user %q: setting %q: not a name", u.Name, name)
			}
			x.elem(name, u.Settings[name])
		}
		x.shut(profileOf(u))
	}
	x.shut("profiles")
	x.open("quotas", "default")
	x.shut("default", "quotas")

	x.open("users")
	seen := map[string]bool{}
	for _, u := range append([]ClickHouseUser{{Name: "default"}}, list...) {
		if !xmlName(u.Name) || seen[u.Name] {
			return nil, fmt.Errorf("configure clickhouse user %q: name must be unique and of letters, digits, '_' and '-'", u.Name)
		}
		seen[u.Name] = true
		x.open(u.Name)
		if u.Password == "" {
			x.elem("password", "")
		} else {
			sum := sha256.Sum256([]byte(u.Password))
			x.elem("password_sha256_hex", hex.EncodeToString(sum[:]))
		}
		x.open("networks")
		x.elem("ip", "127.0.0.1")
		x.elem("ip", "::1")
		x.shut("networks")
		x.elem("profile", profileOf(u))
		x.elem("quota", "default")
		if len(u.Grants) > 0 {
			x.open("grants")
			for _, g := range u.Grants {
				x.elem("query", g)
			}
			x.shut("grants")
		}
		x.shut(u.Name)
	}
	x.shut("users", "clickhouse")
	return []byte(x.String()), nil
}

// profileOf is the name of the user's profile of settings.
func profileOf(u ClickHouseUser) string {
	switch {
	case len(u.Settings) > 0:
		return "of_" + u.Name
	case u.ReadOnly:
		return "readonly"
	}
	return "default"
}

// xmlWriter writes elements, one a line.
type xmlWriter struct{ strings.Builder }

func (x *xmlWriter) open(names ...string) {
	for _, n := range names {
		x.WriteString("<" + n + ">\n")
	}
}

func (x *xmlWriter) shut(names ...string) {
	for _, n := range names {
		x.WriteString("</" + n + ">\n")
	}
}

func (x *xmlWriter) elem(name string, value any) {
	fmt.Fprintf(x, "<%s>%s</%s>\n", name, xmlText(fmt.Sprint(value)), name)
}

func xmlText(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder cannot fail
	return b.String()
}

// xmlName reports whether s can be an element's name without quoting.
func xmlName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || !(r >= '0' && r <= '9' || r == '-')) {
			return false
		}
	}
	return s != ""
}
