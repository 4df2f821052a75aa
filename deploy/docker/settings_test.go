package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// secrets runs secrets.sh into a new directory.
func secrets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	runSecrets(t, dir, "correct horse battery staple\n")
	return dir
}

func runSecrets(t *testing.T, dir, input string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./secrets.sh", dir)
	cmd.Env = append(os.Environ(), "TAPWATCH_ANALYZER="+filepath.Join(programs(t), "analyzer"))
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	return string(out)
}

// environment is what a service's program sees, with the secrets that it was
// granted in dir in place of /run/secrets.
func environment(t *testing.T, s types.ServiceConfig, dir string) []string {
	t.Helper()
	var env []string
	for key, value := range s.Environment {
		if value == nil {
			t.Fatalf("%s has no value", key)
		}
		v := *value
		if name, ok := strings.CutPrefix(v, "file:/run/secrets/"); ok {
			if !slices.ContainsFunc(s.Secrets, func(g types.ServiceSecretConfig) bool {
				return g.Source == name && g.Target == "" || g.Target == "/run/secrets/"+name
			}) {
				t.Errorf("%s: the secret %s is not granted to the service", key, name)
			}
			v = "file:" + filepath.Join(dir, name)
		}
		env = append(env, key+"="+v)
	}
	return env
}

// place are the settings that depend on where a service runs. What it does is
// the same as with `tapwatch up`: the defaults of its program.
var place = []string{"kafka.brokers", "clickhouse.addr", "clickhouse.username", "clickhouse.password", "ops.listen", "ops.log_format",
	"name", "capture.files", "capture.interfaces", "spool.dir", "spool.drain", "console.listen", "console.password_hash"}

// The programs take the settings of the composition, which changes nothing but
// where things are.
func TestSettings(t *testing.T) {
	dir := secrets(t)
	for name, s := range composition(t).Services {
		target, own := ours(s)
		if !own {
			continue
		}
		t.Run(name, func(t *testing.T) {
			env := environment(t, s, dir)
			program := filepath.Join(programs(t), target)
			run := func(command string, env []string) string {
				cmd := exec.CommandContext(t.Context(), program, command)
				cmd.Env = env
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s %s: %v\n%s", target, command, err, out)
				}
				return string(out)
			}
			run("check-config", env)
			// print-config of a probe needs something to capture to be good.
			var base []string
			if target == "probe" {
				base = []string{"TAPWATCH_PROBE_CAPTURE_INTERFACES=default"}
			}
			defaults, got := keys(run("print-config", base)), keys(run("print-config", env))
			for key, value := range got {
				if value != defaults[key] && !slices.Contains(place, key) {
					t.Errorf("%s (-compose +default)\n- %s\n+ %s", key, value, defaults[key])
				}
			}
			if len(got) != len(defaults) || len(got) < 20 {
				t.Errorf("%d settings printed, %d by default", len(got), len(defaults))
			}
			brokers := got["kafka.brokers"]
			if want, reads := s.Environment["TAPWATCH_"+strings.ToUpper(target)+"_KAFKA_BROKERS"]; reads && brokers != "['"+*want+"']" {
				t.Errorf("kafka.brokers (-got +want)\n- %q\n+ %q", brokers, "['"+*want+"']")
			}
			cmd := exec.CommandContext(t.Context(), program, "ready", "--ops.listen=127.0.0.1:1") // where nobody is
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("ready without the service: %v, want exit code 1\n%s", err, out)
			}
		})
	}
}

var yamlKey = regexp.MustCompile(`^( *)([a-z0-9_]+):(?: (.*))?$`)

// keys are the dotted keys of what print-config prints, with their values; a
// list is the text of its lines.
func keys(text string) map[string]string {
	values, path, last := map[string]string{}, []string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "#") || strings.TrimSpace(line) == "" {
			continue
		}
		m := yamlKey.FindStringSubmatch(line)
		if m == nil {
			values[last] += strings.TrimSpace(line) + " "
			continue
		}
		depth := 0
		for depth < len(path) && len(path[depth])-len(strings.TrimLeft(path[depth], " ")) < len(m[1]) {
			depth++
		}
		path = append(path[:depth], m[1]+m[2])
		var names []string
		for _, p := range path {
			names = append(names, strings.TrimLeft(p, " "))
		}
		last = strings.Join(names, ".")
		values[last] = m[3]
	}
	return values
}
