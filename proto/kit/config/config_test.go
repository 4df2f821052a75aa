package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/tapwatch/tapwatch/proto/kit"
)

var update = flag.Bool("update", false, "write the golden files")

type tapConfig struct {
	Interface string `conf:"interface" help:"name of the interface"`
	Snaplen   uint16 `conf:"snaplen"`
}

type testConfig struct {
	Site  string `conf:"site" help:"name of this site"`
	Kafka struct {
		Brokers  []string      `conf:"brokers" help:"host:port of the brokers"`
		ClientID string        `conf:"client_id"`
		Timeout  time.Duration `conf:"timeout" help:"how long to wait"`
		Password Secret        `conf:"password"`
	} `conf:"kafka"`
	Spool    kit.Bytes         `conf:"spool" help:"bytes on disk at most"`
	Workers  int               `conf:"workers"`
	Ratio    float64           `conf:"ratio"`
	Verbose  bool              `conf:"verbose"`
	Own      []netip.Prefix    `conf:"own" help:"networks of this site"`
	Labels   map[string]string `conf:"labels"`
	Tokens   map[string]Secret `conf:"tokens"`
	Taps     []tapConfig       `conf:"taps" help:"what to listen to"`
	Internal chan int          // not configurable
}

func defaults() testConfig {
	c := testConfig{Site: "default", Spool: 1 << 30, Workers: 2, Ratio: 0.5, Labels: map[string]string{"env": "prod", "a.b": "c"}}
	c.Kafka.Brokers = []string{"one:9092", "two:9092", "three:9092"}
	c.Kafka.Timeout = 30 * time.Second
	c.Own = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	return c
}

// load reads a YAML text, an environment and arguments over the defaults.
func load(t *testing.T, yaml string, environ []string, args ...string) (testConfig, error) {
	t.Helper()
	c := defaults()
	src := Source{EnvPrefix: "TAPWATCH_TEST_", Environ: environ}
	if yaml != "" {
		src.File = filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(src.File, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src.Flags = pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(src.Flags, &c)
	if err := src.Flags.Parse(args); err != nil {
		return c, err
	}
	return c, Load(&c, src)
}

func TestPrecedence(t *testing.T) {
	const yaml = "site: file\nkafka:\n  client_id: file\n  timeout: 1m\nworkers: 7\n"
	environ := []string{"TAPWATCH_TEST_SITE=env", "TAPWATCH_TEST_KAFKA_CLIENT_ID=env", "TAPWATCH_TEST_KAFKA_BROKERS=x:1, y:2", "HOME=/"}
	got, err := load(t, yaml, environ, "--site=flag", "--own=192.0.2.0/24", "--own", "2001:db8::/32", "--verbose", "--labels=x=y")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Site, want.Kafka.ClientID, want.Kafka.Timeout, want.Workers, want.Verbose = "flag", "env", time.Minute, 7, true
	want.Kafka.Brokers = []string{"x:1", "y:2"}
	want.Own = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	want.Labels = map[string]string{"x": "y"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("(-got +want)\n- %+v\n+ %+v", got, want)
	}
}

func TestNothingGivenLeavesDefaults(t *testing.T) {
	for _, yaml := range []string{"", "# nothing\n", "kafka:\ntaps:\n", "---\n", "kafka: {}\n"} {
		got, err := load(t, yaml, nil)
		if err != nil || !reflect.DeepEqual(got, defaults()) {
			t.Errorf("%q: %v (-got +want)\n- %+v\n+ %+v", yaml, err, got, defaults())
		}
	}
}

func TestDefaultsAreNotWrittenInto(t *testing.T) {
	base := defaults()
	brokers := base.Kafka.Brokers
	c := base
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("kafka: {brokers: [other:1]}\nlabels: {new: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(&c, Source{File: file}); err != nil {
		t.Fatal(err)
	}
	if brokers[0] != "one:9092" || len(base.Labels) != 2 {
		t.Errorf("the defaults changed: %v %v", brokers, base.Labels)
	}
	if len(c.Kafka.Brokers) != 1 || len(c.Labels) != 1 {
		t.Errorf("given lists must replace the default: %v %v", c.Kafka.Brokers, c.Labels)
	}
}

func TestEveryType(t *testing.T) {
	const yaml = `
kafka: {brokers: [], password: "p w"}
spool: 900kB
workers: -3
ratio: 2
own: [10.1.0.0/16]
labels: {"host.name": a, n: "1"}
tokens: {siem: s1}
taps:
  - interface: eth0
  - {interface: eth1, snaplen: 96}
`
	got, err := load(t, yaml, []string{"TAPWATCH_TEST_RATIO=0.25", "TAPWATCH_TEST_SPOOL=1MiB"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Kafka.Brokers, want.Kafka.Password = []string{}, "p w"
	want.Spool, want.Workers, want.Ratio = 1<<20, -3, 0.25
	want.Own = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	want.Labels = map[string]string{"host.name": "a", "n": "1"}
	want.Tokens = map[string]Secret{"siem": "s1"}
	want.Taps = []tapConfig{{Interface: "eth0"}, {Interface: "eth1", Snaplen: 96}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("(-got +want)\n- %#v\n+ %#v", got, want)
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, yaml string
		env, args  []string
		want, hint string // parts of the error and of the hint
	}{
		{name: "unknown key", yaml: "site: a\nkafak:\n  brokers: [a]\n", want: "c.yaml:2: kafak: unknown key", hint: "did you mean kafka?"},
		{name: "unknown nested key", yaml: "kafka:\n  broker: [a]\n", want: "c.yaml:2: kafka.broker: unknown key", hint: "did you mean kafka.brokers?"},
		{name: "unknown far key", yaml: "elephant: 1\n", want: "elephant: unknown key", hint: "known here: site, kafka"},
		{name: "unknown key in a list", yaml: "taps:\n  - interface: a\n  - interfacs: b\n", want: "c.yaml:3: taps.1.interfacs: unknown key", hint: "taps.1.interface?"},
		{name: "unknown variable", env: []string{"TAPWATCH_TEST_KAFKA_BROKER=a"}, want: "environment TAPWATCH_TEST_KAFKA_BROKER: unknown variable", hint: "did you mean TAPWATCH_TEST_KAFKA_BROKERS?"},
		{name: "unknown flag", args: []string{"--kafka.broker=a"}, want: "unknown flag: --kafka.broker"},
		{name: "type in file", yaml: "workers: many\n", want: `c.yaml:1: workers: "many" is not a whole number`},
		{name: "type in environment", env: []string{"TAPWATCH_TEST_WORKERS=many"}, want: `environment TAPWATCH_TEST_WORKERS: workers: "many" is not a whole number`},
		{name: "type in flag", args: []string{"--workers=many"}, want: `"many" is not a whole number`},
		{name: "range", yaml: "taps: [{snaplen: 70000}]\n", want: `taps.0.snaplen: "70000" is out of range`},
		{name: "duration without unit", yaml: "kafka: {timeout: 30}\n", want: "kafka.timeout: 30 is not a duration"},
		{name: "size", env: []string{"TAPWATCH_TEST_SPOOL=1 XB"}, want: `"1 XB" is not a size`},
		{name: "bool", env: []string{"TAPWATCH_TEST_VERBOSE=yes"}, want: `"yes" is neither true nor false`},
		{name: "number as text", yaml: "site: 012\n", want: "put it into quotes"},
		{name: "network", yaml: "own: [10.0.0.0/33]\n", want: "own: element 0:"},
		{name: "text as section", yaml: "kafka: localhost\n", want: "kafka: text where a section"},
		{name: "list as text", yaml: "site: [a]\n", want: "a list where text belongs"},
		{name: "null", yaml: "site:\n", want: "site: no value", hint: `""`},
		{name: "null in list", yaml: "kafka: {brokers: [~]}\n", want: "element 0: nothing"},
		{name: "broken YAML", yaml: "site: [\n", want: "not valid YAML"},
		{name: "no map", yaml: "- a\n", want: "not a map of keys"},
		{name: "twice", yaml: "site: a\nsite: b\n", want: "not valid YAML"},
		{name: "redacted", yaml: "kafka: {password: '***'}\n", want: "kafka.password: ***", hint: "file:/path"},
		{name: "secret as argument", args: []string{"--kafka.password=hunter2"}, want: "everyone can read"},
		{name: "secret without variable", yaml: "kafka: {password: 'env:NOPE'}\n", want: "kafka.password: environment variable NOPE is not set"},
		{name: "secret without file", yaml: "tokens: {a: 'file:/does/not/exist'}\n", want: "tokens.a: open /does/not/exist: no such file"},
		{name: "too large", yaml: strings.Repeat("# comment\n", 110_000), want: "larger than 1 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.yaml, tt.env, tt.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(kit.HintOf(err), tt.hint) {
				t.Errorf("got  %q (%q)\nwant %q (%q)", err, kit.HintOf(err), tt.want, tt.hint)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows the secret: %q", err)
			}
			var ce *Error
			if tt.args == nil && (!errors.As(err, &ce) || ce.ExitCode() != 2) {
				t.Errorf("%T is no *Error with exit code 2", err)
			}
		})
	}
	c := defaults()
	err := Load(&c, Source{File: filepath.Join(t.TempDir(), "none.yaml")})
	if err == nil || !strings.Contains(err.Error(), "none.yaml: no such file or directory") || kit.HintOf(err) == "" {
		t.Errorf("missing file: %v", err)
	}
}

func TestInjectedVariablesAreIgnored(t *testing.T) {
	_, err := load(t, "", []string{"TAPWATCH_TEST_SERVICE_HOST=10.0.0.1", "TAPWATCH_TEST_PORT=tcp://10.0.0.1:80", "TAPWATCH_TEST_CONFIG=/x",
		"TAPWATCH_TEST_PORT_80_TCP_ADDR=10.0.0.1", "TAPWATCH_TEST_SERVICE_PORT_HTTP=80"})
	if err != nil {
		t.Error(err)
	}
}

func TestProgrammersMistakes(t *testing.T) {
	type unexported struct {
		a string `conf:"a"`
	}
	_ = unexported{}.a
	for name, dst := range map[string]any{
		"no pointer": testConfig{}, "nil": nil, "nil pointer": (*testConfig)(nil), "unexported": &unexported{},
		"channel": &struct {
			C chan int `conf:"c"`
		}{},
		"twice": &struct {
			A int `conf:"a"`
			B int `conf:"a"`
		}{},
		"same variable": &struct {
			A int `conf:"a_b"`
			B struct {
				B int `conf:"b"`
			} `conf:"a"`
		}{},
	} {
		if err := Load(dst, Source{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPrint(t *testing.T) {
	c := defaults()
	c.Kafka.Password = "hunter2"
	c.Site = "true" // must be quoted to stay text
	c.Taps = []tapConfig{{Interface: "eth0", Snaplen: 96}}
	var out bytes.Buffer
	if err := Print(&out, c); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "print.yaml")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("(-got +want)\n- %s\n+ %s", &out, want)
	}
	c.Kafka.Password = ""
	out.Reset()
	if err := Print(&out, &c); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatalf("what Print wrote is refused: %v\n%s", err, &out)
	}
	c.Tokens = map[string]Secret{} // given as {}, which is not nil
	if !reflect.DeepEqual(again, c) {
		t.Errorf("read back (-got +want)\n- %#v\n+ %#v", again, c)
	}
}

func TestFlagsShowDefaultsAndHelp(t *testing.T) {
	c := defaults()
	c.Kafka.Password = "hunter2"
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(fs, &c)
	usage := fs.FlagUsages()
	for _, want := range []string{"--kafka.brokers list", "host:port of the brokers", "one:9092,two:9092,three:9092", "--spool size", "1GiB", "--kafka.timeout duration", "30s"} {
		if !strings.Contains(usage, want) {
			t.Errorf("usage lacks %q:\n%s", want, usage)
		}
	}
	if strings.Contains(usage, "hunter2") || strings.Contains(usage, "--taps") {
		t.Errorf("usage shows too much:\n%s", usage)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const canary = "CANARY-7f3a"
	c := defaults()
	c.Kafka.Password = canary
	c.Tokens = map[string]Secret{"siem": canary}
	var out bytes.Buffer
	if err := Print(&out, c); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		fmt.Fprintf(&out, verb+"\n", c.Kafka.Password)
		fmt.Fprintf(&out, verb+"\n", c.Tokens)
		if verb == "%v" || verb[0:2] == "%+" || verb == "%#v" {
			fmt.Fprintf(&out, verb+"\n", c.Kafka)
			fmt.Fprintf(&out, verb+"\n", &c.Kafka)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("m", "secret", c.Kafka.Password, "config", c.Kafka, "tokens", c.Tokens)
	}
	if err := json.NewEncoder(&out).Encode(map[string]any{"a": c.Kafka, "b": c.Tokens, "c": c.Kafka.Password}); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(fs, &c)
	out.WriteString(fs.FlagUsages())
	for _, bad := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), canary[:3]} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q was printed:\n%s", bad, &out)
		}
	}
	if strings.Count(out.String(), "***") < 20 {
		t.Errorf("too few redactions: the test looks at nothing\n%s", &out)
	}
	if c.Kafka.Password.Reveal() != canary {
		t.Error("Reveal does not")
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	const canary = "CANARY-7f3a"
	for _, yaml := range []string{
		"kafka: {password: [" + canary + "]}", "kafka: " + canary, canary, "tokens: " + canary, "tokens: [" + canary + "]",
		"kafka: {password: " + canary, "kafka: {password: {a: " + canary + "}}", "tokens: {a: [" + canary + "]}", "tokens: {a: {b: " + canary + "}}",
		"kafka: {password: !!int " + canary + "}",
	} {
		if _, err := load(t, yaml, nil); err == nil || strings.Contains(err.Error()+kit.HintOf(err), canary) {
			t.Errorf("%q: %v", yaml, err)
		}
	}
	if _, err := load(t, "", []string{"TAPWATCH_TEST_TOKENS=" + canary}); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("environment: %v", err)
	}
	if _, err := load(t, "", nil, "--kafka.password="+canary); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("flag: %v", err)
	}
}

func TestSecretReferences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("from file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PW=from env", "TAPWATCH_TEST_TOKENS=a=env:PW,b=file:" + file}
	got, err := load(t, "kafka: {password: 'env:PW'}", environ, "--kafka.password=file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kafka.Password.Reveal() != "from file" || got.Tokens["a"].Reveal() != "from env" || got.Tokens["b"].Reveal() != "from file" {
		t.Errorf("resolved to %q, %q", got.Kafka.Password.Reveal(), []string{got.Tokens["a"].Reveal(), got.Tokens["b"].Reveal()})
	}
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"site: a\nkafka: {brokers: [a, b], timeout: 3s}\n", "taps: [{interface: a}]", "a: &a [*a]", "? [a]: b", "{}", "null", "- 1", "1: 2\n",
		"<<: {site: a}", "labels: {a: b, 1: c}", "own: [10.0.0.0/8]", "spool: 0x10", "tokens: {a: 1}", "kafka: &k {timeout: 1s}\ntaps: [*k]", "\xff\xfe",
		"site: !!binary aGk=", "ratio: .inf", "ratio: .nan",
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "c.yaml")
		if bytes.Contains(data, []byte("file:")) || os.WriteFile(file, data, 0o600) != nil {
			return
		}
		c := defaults()
		if err := Load(&c, Source{File: file}); err != nil {
			var ce *Error
			if !errors.As(err, &ce) {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := Print(&out, c); err != nil {
			t.Errorf("loaded but not printable: %v", err)
		}
	})
}
