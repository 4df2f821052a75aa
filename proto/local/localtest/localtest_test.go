package localtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestShared(t *testing.T) {
	k, c := TestKafka(t), TestClickHouse(t)
	if TestKafka(t) != k || TestClickHouse(t) != c {
		t.Error("a second call started a second server")
	}
	for _, addr := range []string{k.Addr(), c.Addr(), c.HTTPAddr()} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("server does not listen: %v", err)
			continue
		}
		conn.Close()
	}
}

func TestRemoveStale(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Skipf("run true: %v", err)
	}
	tmp := t.TempDir()
	dead := filepath.Join(tmp, dirPrefix+strconv.Itoa(cmd.Process.Pid)+"-1")
	live := filepath.Join(tmp, dirPrefix+strconv.Itoa(os.Getpid())+"-1")
	other := filepath.Join(tmp, "somebody-else-1")
	for _, dir := range []string{dead, live, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	removeStale(tmp)
	for dir, want := range map[string]bool{dead: false, live: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: exists = %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
}
