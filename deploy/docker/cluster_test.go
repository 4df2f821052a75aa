package docker

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The files of ../cluster fit each other and the programs.
func TestClusterFiles(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root(t), "deploy/cluster", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, name := range []string{"remote_servers.xml", "keeper.xml"} {
		for d := xml.NewDecoder(strings.NewReader(read(name))); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	var servers struct {
		Shards []struct {
			Replicas []struct {
				Host string `xml:"host"`
				Port string `xml:"port"`
			} `xml:"replica"`
		} `xml:"remote_servers>tapwatch>shard"`
	}
	if err := xml.Unmarshal([]byte(read("remote_servers.xml")), &servers); err != nil {
		t.Fatal(err)
	}
	text := read("collector.yaml")
	var list []string
	for _, s := range servers.Shards {
		var replicas []string
		for _, r := range s.Replicas {
			replicas = append(replicas, r.Host+":"+r.Port)
		}
		list = append(list, strings.Join(replicas, "|"))
	}
	if want := "  shards:\n    - " + strings.Join(list, "\n    - ") + "\n"; len(list) < 2 || !strings.Contains(text, want) {
		t.Errorf("collector.yaml does not have the shards of remote_servers.xml:\n%s", want)
	}
	dir := secrets(t)
	for _, name := range []string{"kafka_password", "clickhouse_writer_password", "probes.keys"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// An authority of the test's own is in proto/kit; here any certificate does.
	certificate := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(certificate, []byte(anyCertificate), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "collector.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/etc/tapwatch/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs(t), "collector"), "check-config", "-c", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("check-config: %v\n%s", err, out)
	}
}

const anyCertificate = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUP7mQFEFWs79XOwMDwWxsCdPaku0wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjMwNTU5MjhaGA8yMTI2MTAzMDA1NTky
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCqM
zi+n+qiN37/sXTRUXgdjvc9vQtkvEkvuKJmEa6MBdmr/yR9MhppL4xRSO+D4XhUp
EMZfW3ibDoctAoIw/+qjUzBRMB0GA1UdDgQWBBQpD+zIvfCrulXUC8ArEenZBAwM
qDAfBgNVHSMEGDAWgBQpD+zIvfCrulXUC8ArEenZBAwMqDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCID0Mmx59qe8rfoECwDk3fKhvjG6osJmGWLy2
RRisJlvVAiBt5ZvvC3w/GxGd468xFgtBD9BGhj/08MJXTCMCm/M/Qw==
-----END CERTIFICATE-----
`
