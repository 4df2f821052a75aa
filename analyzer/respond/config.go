package respond

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/notify"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// Config is what may be done about incidents, by whom and how often. Hooks and
// rules can be given by YAML only. Without hooks nothing can be done.
type Config struct {
	Enabled     bool           `conf:"enabled" help:"do what is asked for; false: only say what would be done (dry run)"`
	Interval    time.Duration  `conf:"interval" help:"how often requests, alerts and expiries are looked for"`
	Executables []string       `conf:"executables" help:"paths of the programs that hooks may run; no other is"`
	Hosts       []string       `conf:"hosts" help:"host names of the addresses that hooks may post to; no other is"`
	Protected   []netip.Prefix `conf:"protected" help:"addresses and networks that are never isolated or blocked, besides this machine's own, its gateway and resolvers"`
	Roles       []string       `conf:"protected_roles" help:"networks with these roles (see enrich) are never isolated or blocked"`
	MaxPerHour  int            `conf:"max_per_hour" help:"actions within any hour at most; more are refused"`
	MaxActive   int            `conf:"max_active" help:"actions in force at the same time at most"`
	For         time.Duration  `conf:"for" help:"how long an action lasts, unless it says otherwise; then it is undone"`
	MaxFor      time.Duration  `conf:"max_for" help:"how long an action may last at most"`
	MinBits4    int            `conf:"min_bits_ipv4" help:"shortest IPv4 prefix that may be blocked"`
	MinBits6    int            `conf:"min_bits_ipv6" help:"shortest IPv6 prefix that may be blocked"`
	MaxAge      time.Duration  `conf:"max_age" help:"rules act on alerts that were raised or changed at most this long ago"`
	Hooks       []Hook         `conf:"hooks" help:"how a host is isolated and a prefix blocked"`
	Rules       []Rule         `conf:"rules" help:"which alerts do so by themselves"`
}

// Hook does one kind of action, by a program or by a POST, and undoes it. Both
// must be able to do twice what was done once: after a crash an action is
// repeated. In arguments {target}, {id}, {action} (apply or undo), {kind} and
// {until} (RFC 3339) are replaced; no shell sees them.
type Hook struct {
	Name    string                   `conf:"name" help:"unique"`
	Kind    string                   `conf:"kind" help:"isolate (a host of our own) or block (a prefix that is not)"`
	Command []string                 `conf:"command" help:"program and arguments, such as [/usr/local/sbin/quarantine, add, '{target}']"`
	Undo    []string                 `conf:"undo" help:"the same, to undo it"`
	URL     config.Secret            `conf:"url" help:"http or https, in place of command: gets a POST of JSON with action apply or undo"`
	Secret  config.Secret            `conf:"secret" help:"signs the body as notifications are"`
	Headers map[string]config.Secret `conf:"headers" help:"additional header fields"`
	Allow   []netip.Prefix           `conf:"allow" help:"networks that may be dialled although they are not public"`
	TLS     kit.TLS                  `conf:"tls"`
	Timeout time.Duration            `conf:"timeout" help:"for one attempt; 0: 30s"`
}

// Rule requests an action for every new alert that it fits.
type Rule struct {
	Name        string         `conf:"name" help:"unique"`
	MinSeverity alert.Severity `conf:"min_severity" help:"alerts below do nothing; empty: high"`
	Detectors   []string       `conf:"detectors" help:"names of the detectors that may act; at least one"`
	Kind        string         `conf:"kind" help:"isolate or block"`
	Hook        string         `conf:"hook" help:"name of the hook; empty: the first of that kind"`
	Target      string         `conf:"target" help:"actor or victim of the alert; empty: actor"`
	For         time.Duration  `conf:"for" help:"0: that of respond"`
}

// Kinds of actions.
const (
	Isolate = "isolate" // a host of our own
	Block   = "block"   // a prefix that is not
)

// DefaultConfig does nothing, and would do little.
func DefaultConfig() Config {
	return Config{Interval: 2 * time.Second, Roles: []string{"gateway", "resolver", "jump", "nat", "proxy", "monitor", "scanner", "backup"}, MaxPerHour: 10, MaxActive: 50,
		For: time.Hour, MaxFor: 24 * time.Hour, MinBits4: 24, MinBits6: 48, MaxAge: time.Hour}
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

const (
	maxHooks    = 64
	hookTimeout = 30 * time.Second
	maxTimeout  = 5 * time.Minute
)

// Check says what is wrong with c; it looks at the executables, and nothing is run.
func (c Config) Check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", c.Interval}, {"for", c.For}, {"max_for", c.MaxFor}, {"max_age", c.MaxAge}} {
		if d.value <= 0 {
			return fmt.Errorf("respond.%s: %v is not greater than zero", d.name, d.value)
		}
	}
	if c.For > c.MaxFor || c.MaxFor > 366*24*time.Hour {
		return fmt.Errorf("respond.for: %v is not within max_for, %v, which is at most a year", c.For, c.MaxFor)
	}
	if c.MaxPerHour < 1 || c.MaxActive < 1 {
		return errors.New("respond.max_per_hour, respond.max_active: less than 1")
	}
	if c.MinBits4 < 8 || c.MinBits4 > 32 || c.MinBits6 < 16 || c.MinBits6 > 128 {
		return errors.New("respond.min_bits_ipv4, respond.min_bits_ipv6: not within 8 to 32 and 16 to 128")
	}
	if len(c.Hooks) > maxHooks || len(c.Rules) > maxHooks {
		return fmt.Errorf("respond: more than %d hooks or rules", maxHooks)
	}
	names := map[string]bool{}
	for i, h := range c.Hooks {
		if err := c.checkHook(fmt.Sprintf("respond.hooks[%d]", i), h); err != nil {
			return err
		}
		if names[h.Name] {
			return fmt.Errorf("respond.hooks[%d].name: %q is taken", i, h.Name)
		}
		names[h.Name] = true
	}
	taken := map[string]bool{}
	for i, r := range c.Rules {
		if err := c.checkRule(fmt.Sprintf("respond.rules[%d]", i), r); err != nil {
			return err
		}
		if taken[r.Name] {
			return fmt.Errorf("respond.rules[%d].name: %q is taken", i, r.Name)
		}
		taken[r.Name] = true
	}
	return nil
}

func (c Config) checkHook(at string, h Hook) error {
	switch {
	case !nameForm.MatchString(h.Name):
		return kit.Hint(fmt.Errorf("%s.name: %q is not a name", at, h.Name), "up to 64 letters, digits, dots, dashes and underscores")
	case h.Kind != Isolate && h.Kind != Block:
		return kit.Hint(fmt.Errorf("%s.kind: %q is unknown", at, h.Kind), "one of isolate, block")
	case (len(h.Command) > 0) == (h.URL != ""):
		return fmt.Errorf("%s: either command or url is needed", at)
	case h.Timeout < 0 || h.Timeout > maxTimeout:
		return fmt.Errorf("%s.timeout: %v is not between 0 and %v", at, h.Timeout, maxTimeout)
	}
	if h.URL != "" {
		u, err := url.Parse(h.URL.Reveal())
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return fmt.Errorf("%s.url: not an http or https address", at)
		}
		if !slices.Contains(c.Hosts, u.Hostname()) {
			return kit.Hint(fmt.Errorf("%s.url: its host is not in respond.hosts", at), "name there whom hooks may reach")
		}
		if len(h.Undo) > 0 {
			return fmt.Errorf("%s.undo: the address is told of undoing itself", at)
		}
		for name := range h.Headers {
			if http.CanonicalHeaderKey(name) == "Host" {
				return fmt.Errorf("%s.headers.%s: is set by tapwatch itself", at, name)
			}
		}
		_, err = notify.Client(h.Allow, h.TLS)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return nil
	}
	if len(h.Undo) == 0 {
		return kit.Hint(fmt.Errorf("%s.undo: missing", at), "what cannot be undone is not done: name the program that undoes it")
	}
	for _, argv := range [][]string{h.Command, h.Undo} {
		if err := c.executable(argv[0]); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// executable says why a program may not be run.
func (c Config) executable(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("run %s: not an absolute path", path)
	}
	if !slices.Contains(c.Executables, path) {
		return kit.Hint(fmt.Errorf("run %s: not in respond.executables", path), "name there what hooks may run")
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("run %s: %w", path, err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("run %s: not a program", path)
	case info.Mode().Perm()&0o022 != 0:
		return kit.Hint(fmt.Errorf("run %s: others than its owner may write to it", path), "chmod go-w")
	}
	return nil
}

func (c Config) checkRule(at string, r Rule) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return fmt.Errorf("%s.name: %q is not a name", at, r.Name)
	case len(r.Detectors) == 0:
		return kit.Hint(fmt.Errorf("%s.detectors: none", at), "name the detectors that may act by themselves")
	case r.MinSeverity != "" && r.MinSeverity.Rank() < 0:
		return fmt.Errorf("%s.min_severity: %q is not a severity", at, string(r.MinSeverity))
	case r.Target != "" && r.Target != "actor" && r.Target != "victim":
		return fmt.Errorf("%s.target: %q is neither actor nor victim", at, r.Target)
	case r.For < 0 || r.For > c.MaxFor:
		return fmt.Errorf("%s.for: %v is not between 0 and max_for, %v", at, r.For, c.MaxFor)
	}
	if _, err := c.hook(r.Kind, r.Hook); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// hook finds a hook by its name, or the first of a kind.
func (c Config) hook(kind, name string) (Hook, error) {
	if kind != Isolate && kind != Block {
		return Hook{}, kit.Hint(fmt.Errorf("respond: kind %q is unknown", kind), "one of isolate, block")
	}
	for _, h := range c.Hooks {
		if h.Kind == kind && (name == "" || h.Name == name) {
			return h, nil
		}
	}
	return Hook{}, kit.Hint(fmt.Errorf("respond: there is no hook %s to %s", name, kind), "respond.hooks holds them")
}
