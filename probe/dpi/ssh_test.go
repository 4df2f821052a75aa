package dpi

import (
	"encoding/binary"
	"strings"
	"testing"
)

func kexInit(lists ...string) string {
	body := "\x14" + strings.Repeat("c", 16)
	for i := range 10 {
		l := ""
		if i < len(lists) {
			l = lists[i]
		}
		body += string(binary.BigEndian.AppendUint32(nil, uint32(len(l)))) + l
	}
	body += "\x00\x00\x00\x00\x00"
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1+4))) + "\x04" + body + "pppp"
}

func TestSSH(t *testing.T) {
	lists := []string{"kex", "key", "enc-cs", "enc-sc", "mac-cs", "mac-sc", "zip-cs", "zip-sc"}
	sum := NewInspector(Config{})
	client, server := sum.md5([]byte("kex;enc-cs;mac-cs;zip-cs")), sum.md5([]byte("kex;enc-sc;mac-sc;zip-sc"))
	k := newTalk(t, protoTCP, 902)
	k.send(1, "SSH-2.0-Server 1\r\n"+kexInit(lists...)[:20])
	k.send(0, "SSH-2.0-Client\n")
	k.send(0, kexInit(lists...))
	k.send(1, kexInit(lists...)[20:])
	if !k.st.Done() {
		t.Error("not done after both lists")
	}
	if r := k.end(); r.App != "ssh" || r.SSHClient != "SSH-2.0-Client" || r.SSHServer != "SSH-2.0-Server 1" || r.HASSH != client || r.HASSHServer != server {
		t.Errorf("%q %q %q hassh %s %s", r.App, r.SSHClient, r.SSHServer, r.HASSH, r.HASSHServer)
	}

	k = newTalk(t, protoTCP, 22)
	k.send(0, "SSH-2.0-Server\r\n") // the initiator was guessed wrongly
	k.st.Flip()
	k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
	k.send(0, "SSH-2.0-Client\r\n"+kexInit(lists...))
	if r := k.end(); r.SSHClient != "SSH-2.0-Client" || r.SSHServer != "SSH-2.0-Server" || r.HASSH != client {
		t.Errorf("flipped: %q %q %s", r.SSHClient, r.SSHServer, r.HASSH)
	}

	k = newTalk(t, protoTCP, 22)
	for range 300 { // a banner without end
		k.send(0, "SSH-2.0-"+strings.Repeat("x", 1000))
	}
	if r := k.end(); r.SSHClient != "" {
		t.Errorf("endless banner: %q", r.SSHClient)
	}
}
