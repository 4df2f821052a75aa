package docker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// secretFields are the keys of all secrets of a configuration; those of lists
// and maps have the key of the list.
func secretFields(t reflect.Type, key string) (keys []string) {
	switch {
	case t == reflect.TypeFor[config.Secret]():
		return []string{strings.TrimPrefix(key, ".")}
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return secretFields(t.Elem(), key)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if name, ok := t.Field(i).Tag.Lookup("conf"); ok {
				keys = append(keys, secretFields(t.Field(i).Type, key+"."+name)...)
			}
		}
	}
	return keys
}

// canary is the value of the secret with this key. It passes where a URL or an
// Argon2id hash is wanted, with what is secret in it.
func canary(key string) string {
	word := "CANARY-" + strings.NewReplacer(".", "-", "_", "-").Replace(key)
	switch key {
	case "notify.webhooks.url", "respond.hooks.url":
		return "https://127.0.0.1:1/" + word
	case "console.password_hash", "console.users.password_hash":
		return "$argon2id$v=19$m=19456,t=2,p=1$Q0FOQVJZLUNBTkFSWS0$Q0FOQVJZLWNvbnNvbGUtcGFzc3dvcmQtaGFzaC14eHg"
	}
	return word
}

// told is what must be nowhere of a secret.
func told(key string) string {
	if strings.HasSuffix(key, "password_hash") {
		return "Q0FOQVJZ"
	}
	return "CANARY-"
}

// S11: no secret is in what a program shows of itself, in the settings it
// prints, in its errors, its metrics or its arguments.
func TestSecretsAreKept(t *testing.T) {
	bin := programs(t)
	common := func(ops string) string {
		return "ops:\n  listen: " + ops + "\n  log_level: debug\n"
	}
	kafka := "kafka:\n  brokers: [127.0.0.1:1]\n  sasl: {mechanism: scram-sha-512, username: u, password: " + canary("kafka.sasl.password") + "}\n"
	clickhouse := "clickhouse:\n  addr: [127.0.0.1:1]\n  username: u\n  password: " + canary("clickhouse.password") + "\n"
	tests := []struct {
		program string
		config  reflect.Type
		text    string
	}{
		{"probe", reflect.TypeFor[probe.Config](), kafka + "capture:\n  files: [../demo/captures/3-protocols.pcap.gz]\nspool:\n  dir: " + t.TempDir() + "\n"},
		{"collector", reflect.TypeFor[collector.Config](), kafka + clickhouse + "enrich:\n" +
			"  threats:\n  - {name: l, location: 'https://127.0.0.1:1/', access: {token: " + canary("enrich.threats.access.token") + "}}\n" +
			"  workloads:\n  - {name: w, location: 'https://127.0.0.1:1/', access: {token: " + canary("enrich.workloads.access.token") + "}}\n"},
		{"analyzer", reflect.TypeFor[analyzer.Config](), clickhouse + "console:\n  listen: 127.0.0.1:0\n  password_hash: '" + canary("console.password_hash") + "'\n" +
			"  users:\n  - {name: eva, role: viewer, password_hash: '" + canary("console.users.password_hash") + "'}\nnotify:\n" +
			"  webhooks:\n  - {name: w, url: '" + canary("notify.webhooks.url") + "', secret: " + canary("notify.webhooks.secret") + ", headers: {Authorization: " + canary("notify.webhooks.headers") + "}}\n" +
			"  email:\n  - {name: m, host: 127.0.0.1, username: u, password: " + canary("notify.email.password") + ", from: a@b.example, to: [c@b.example]}\n" +
			"  kafka:\n  - {name: k, topic: alerts, kafka: {brokers: ['127.0.0.1:1'], sasl: {mechanism: scram-sha-512, username: u, password: " + canary("notify.kafka.kafka.sasl.password") + "}}}\n" +
			"report:\n  email:\n  - {name: r, host: 127.0.0.1, username: u, password: " + canary("report.email.password") + ", from: a@b.example, to: [c@b.example]}\n" +
			"respond:\n  hosts: [127.0.0.1]\n  hooks:\n  - {name: h, kind: block, url: '" + canary("respond.hooks.url") + "', secret: " + canary("respond.hooks.secret") +
			", headers: {Authorization: " + canary("respond.hooks.headers") + "}}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ops := l.Addr().String()
			l.Close()
			text := tt.text + common(ops)
			keys := secretFields(tt.config, "")
			for _, key := range keys {
				if !strings.Contains(text, canary(key)) {
					t.Errorf("the secret %s has no value in this test", key)
				}
			}
			if len(keys) == 0 {
				t.Error("no secrets found")
			}
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			kept := func(what string, out []byte) {
				for _, key := range keys {
					if i := bytes.Index(out, []byte(told(key))); i >= 0 {
						t.Errorf("%s shows a secret: %.80s", what, out[max(0, i-20):])
					}
				}
			}
			run := func(fails bool, args ...string) {
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, tt.program), args...)
				out, err := cmd.CombinedOutput()
				if (err != nil) != fails || len(out) == 0 {
					t.Errorf("%s %v: %v\n%s", tt.program, args, err, out)
				}
				kept(strings.Join(args, " "), out)
			}
			run(false, "check-config", "-c", file)
			run(false, "print-config", "-c", file)
			run(false, "--help")
			run(true, "ready", "-c", file)
			wrong := filepath.Join(t.TempDir(), "wrong.yaml")
			for name, change := range map[string]string{
				"unknown key": text + "no_such_key: 1\n", "twice": text + text, "no YAML": text + "\t- {", "wrong kind": strings.Replace(text, "password: ", "password: [", 1),
			} {
				if err := os.WriteFile(wrong, []byte(change), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Log(name)
				run(true, "check-config", "-c", wrong)
				run(true, "print-config", "-c", wrong)
			}
			if tt.program != "probe" { // secrets on a command line are refused, without being repeated
				run(true, "check-config", "-c", file, "--clickhouse.password=CANARY-argument")
			}
			run(true, "check-config", "-c", file, "--kafka.sasl.password=CANARY-argument")
			running(t, filepath.Join(bin, tt.program), file, ops, kept)
		})
	}
}

// running looks at a service that cannot reach anything, until it has said so.
func running(t *testing.T, program, file, ops string, kept func(string, []byte)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-c", file)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log lines
	unready := make(chan bool, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			fmt.Fprintln(&log, s.Text())
			if strings.Contains(s.Text(), "127.0.0.1:1") {
				select {
				case unready <- true:
				default:
				}
			}
		}
	}()
	select {
	case <-unready:
	case <-read:
		t.Errorf("%s ended:\n%s", filepath.Base(program), log.String())
	case <-ctx.Done():
		t.Errorf("%s does not say what it cannot reach:\n%s", filepath.Base(program), log.String())
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		answer, err := http.Get("http://" + ops + path)
		if err != nil {
			t.Error(err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || len(body) == 0 {
			t.Errorf("%s: %v", path, err)
		}
		kept(path, body)
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil || len(arguments) == 0 {
		t.Error(err)
	}
	kept("the command line", arguments)
	cmd.Process.Signal(os.Interrupt)
	<-read
	cmd.Wait()
	kept("the log", []byte(log.String()))
}
