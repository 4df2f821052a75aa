package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
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
	Dir      string // state, log and configuration; created, locked while running
	TCPPort  int    // native protocol; 0 = any free port
	HTTPPort int    // HTTP; 0 = any free port

	// MaxMemory caps the server, in bytes (max_server_memory_usage); queries
	// beyond it fail, the server lives on. 0 = 4 GiB or half of the machine's
	// memory, whichever is less.
	MaxMemory int64
	// KeepFree is the space in bytes that inserts and merges leave on the disk
	// of Dir: beyond it they are refused with code 243 (NOT_ENOUGH_SPACE) and
	// can be repeated. A disk that really fills up damages parts that were
	// good. 0 = 1 GiB; negative = no guard.
	KeepFree int64

	// Library is the path of libchdb.so or of a clickhouse binary (told apart
	// by the suffix .so). "" = whatever FindClickHouse finds.
	Library string
	// Exec are the words that execute this program again as the child; it must
	// reach RunChildIfAsked or ClickHouseChild. Empty = os.Executable().
	Exec []string

	// Users exist besides `default`, which has all rights, no password, and is
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

// writeConfig writes the server's configuration below dir and returns the
// name of the file. It holds the users' password hashes, so only we may read it.
func writeConfig(cfg ClickHouseConfig, instance string) (string, error) {
	text, err := configXML(cfg, instance)
	if err != nil {
		return "", err
	}
	name := filepath.Join(cfg.Dir, "config.xml")
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return "", fmt.Errorf("write clickhouse configuration: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return "", fmt.Errorf("write clickhouse configuration: %w", err)
	}
	return name, nil
}

// configXML is the configuration file, the same for library and binary.
func configXML(cfg ClickHouseConfig, instance string) ([]byte, error) {
	var b strings.Builder
	elem := func(name string, value any) { fmt.Fprintf(&b, "<%s>%s</%s>\n", name, xmlText(fmt.Sprint(value)), name) }
	open := func(names ...string) {
		for _, n := range names {
			b.WriteString("<" + n + ">\n")
		}
	}
	shut := func(names ...string) {
		for _, n := range names {
			b.WriteString("</" + n + ">\n")
		}
	}

	open("clickhouse")
	elem("path", filepath.Join(cfg.Dir, "data")+"/")
	elem("listen_host", loopback)
	elem("tcp_port", cfg.TCPPort)
	elem("http_port", cfg.HTTPPort)
	elem("max_server_memory_usage", cfg.MaxMemory)
	// Caches are sized for servers with terabytes; these are plenty here.
	elem("mark_cache_size", 128<<20)
	elem("uncompressed_cache_size", 0)
	elem("max_connections", 256)
	// Without it a crash dump or a query text could leave the machine.
	open("send_crash_reports")
	elem("enabled", false)
	shut("send_crash_reports")

	open("logger")
	elem("level", "warning")
	elem("log", filepath.Join(cfg.Dir, "clickhouse.log"))
	elem("size", "16M")
	elem("count", 2)
	elem("console", 0)
	shut("logger")

	open("macros")
	elem(instanceMacro, instance)
	shut("macros")

	if cfg.KeepFree > 0 {
		// The disk refuses to reserve space, for merges as for inserts.
		open("storage_configuration", "disks", "default")
		elem("keep_free_space_bytes", cfg.KeepFree)
		shut("default", "disks", "storage_configuration")
		// Inserts stop first, so that merges still can make room.
		open("merge_tree")
		elem("min_free_disk_bytes_to_perform_insert", cfg.KeepFree+cfg.KeepFree/4)
		shut("merge_tree")
	}

	open("profiles", "default")
	// An asynchronous insert is acknowledged and deduplicated differently.
	elem("async_insert", 0)
	shut("default")
	open("readonly")
	elem("async_insert", 0)
	elem("readonly", 2)
	shut("readonly", "profiles")
	open("quotas", "default")
	shut("default", "quotas")

	open("users")
	seen := map[string]bool{}
	for _, u := range append([]ClickHouseUser{{Name: "default"}}, cfg.Users...) {
		if !xmlName(u.Name) || seen[u.Name] {
			return nil, fmt.Errorf("configure clickhouse user %q: name must be unique and of letters, digits, '_' and '-'", u.Name)
		}
		seen[u.Name] = true
		open(u.Name)
		if u.Password == "" {
			elem("password", "")
		} else {
			sum := sha256.Sum256([]byte(u.Password))
			elem("password_sha256_hex", hex.EncodeToString(sum[:]))
		}
		open("networks")
		elem("ip", "127.0.0.1")
		elem("ip", "::1")
		shut("networks")
		profile := "default"
		if u.ReadOnly {
			profile = "readonly"
		}
		elem("profile", profile)
		elem("quota", "default")
		if len(u.Grants) > 0 {
			open("grants")
			for _, g := range u.Grants {
				elem("query", g)
			}
			shut("grants")
		}
		shut(u.Name)
	}
	shut("users", "clickhouse")
	return []byte(b.String()), nil
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
