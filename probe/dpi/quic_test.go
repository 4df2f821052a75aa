package dpi

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// TestQUICKeys holds key derivation against RFC 9001 appendix A.1 and RFC 9369
// appendix A.1.
func TestQUICKeys(t *testing.T) {
	dcid, _ := hex.DecodeString("8394c8f03e515708")
	tests := []struct {
		version     uint32
		client      bool
		key, iv, hp string
	}{
		{quicV1, true, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
		{quicV1, false, "cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03e", "c206b8d9b9f0f37644430b490eeaa314"},
		{quicV2, true, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
	}
	for _, tt := range tests {
		k, err := deriveInitial(tt.version, dcid, tt.client)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(k.key); got != tt.key {
			t.Errorf("%x client %v: key %s, want %s", tt.version, tt.client, got, tt.key)
		}
		if got := hex.EncodeToString(k.iv); got != tt.iv {
			t.Errorf("%x client %v: iv %s, want %s", tt.version, tt.client, got, tt.iv)
		}
		if got := hex.EncodeToString(k.header); got != tt.hp {
			t.Errorf("%x client %v: hp %s, want %s", tt.version, tt.client, got, tt.hp)
		}
	}
}

// sealInitial is the inverse of openInitial; header is the packet's DCID, keys
// the one the keys are made of.
func sealInitial(t testing.TB, version uint32, header, keys, token string, client bool, number byte, frames string) string {
	k, err := deriveInitial(version, []byte(keys), client)
	if err != nil {
		t.Fatal(err)
	}
	first := byte(0xc0)
	if version == quicV2 {
		first = 0xd0
	}
	for len(frames) < 24 {
		frames += "\x00"
	}
	b := binary.BigEndian.AppendUint32([]byte{first}, version)
	b = append(append(b, byte(len(header))), header...)
	b = append(b, 0, byte(len(token)))
	b = append(b, token...)
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(len(frames)+1+16))
	at := len(b)
	b = append(b, number)
	block, _ := aes.NewCipher(k.key)
	gcm, _ := cipher.NewGCM(block)
	k.iv[11] ^= number
	b = gcm.Seal(b, k.iv, []byte(frames), b)
	hp, _ := aes.NewCipher(k.header)
	var mask [16]byte
	hp.Encrypt(mask[:], b[at+4:at+20])
	b[0] ^= mask[0] & 15
	b[at] ^= mask[1]
	return string(b)
}

func crypto(offset int, data string) string {
	b := binary.BigEndian.AppendUint16([]byte{frameCrypto}, 0x4000|uint16(offset))
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(len(data)))
	return string(b) + data
}

func TestQUIC(t *testing.T) {
	hello := goHello(t, "quic.example", "h3")[5:]
	server := serverHelloRecord()[5:]
	const id, other = "\x01\x02\x03\x04\x05\x06\x07\x08", "server-chose-it"
	half := len(hello) / 2
	for _, version := range []uint32{quicV1, quicV2, 0xff00001d} {
		seal := func(header, keys string, client bool, n byte, frames string) string {
			return sealInitial(t, version, header, keys, "tok", client, n, frames)
		}
		whole := seal(id, id, true, 0, crypto(0, hello))
		tests := []struct {
			name string
			play func(*talk)
		}{
			{"one packet", func(k *talk) { k.send(0, whole) }},
			{"two, swapped", func(k *talk) {
				k.send(0, seal(id, id, true, 1, crypto(half, hello[half:])))
				k.send(0, seal(id, id, true, 0, crypto(0, hello[:half])))
			}},
			{"shuffled frames, padding, ack", func(k *talk) {
				k.send(0, seal(id, id, true, 0, crypto(600, hello[600:])+"\x00\x00\x01\x02\x05\x00\x00\x05"+crypto(100, hello[100:300])+crypto(0, hello[:100])+crypto(300, hello[300:600])))
			}},
			{"coalesced", func(k *talk) {
				k.send(0, seal(id, id, true, 0, crypto(0, hello[:half]))+seal(id, id, true, 1, crypto(half, hello[half:])))
			}},
			{"second flight to the server's id", func(k *talk) {
				k.send(0, seal(id, id, true, 0, crypto(0, hello[:half])))
				k.send(0, seal(other, id, true, 1, crypto(half, hello[half:])))
			}},
			{"after Retry", func(k *talk) {
				k.send(0, seal(id, id, true, 0, crypto(0, hello[:half])))
				k.send(0, seal(other, other, true, 1, crypto(0, hello)))
			}},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				k := newTalk(t, protoUDP, 4433)
				tt.play(k)
				if r := &k.rec; r.App != "quic" || r.QUICVersion != version || r.TLSSNI != "quic.example" || r.TLSALPN != "h3" || r.JA4 == "" || r.JA4[0] != 'q' || r.Cut != 0 {
					t.Errorf("version %x: app %q version %x sni %q ja4 %q cut %b %+v", version, r.App, r.QUICVersion, r.TLSSNI, r.JA4, r.Cut, k.in.Stats())
				}
				k.end()
			})
		}
		k := newTalk(t, protoUDP, 4433)
		k.send(0, whole)
		k.send(1, seal("", id, false, 0, crypto(0, server)))
		if !k.st.Done() || k.rec.JA3S == "" || k.rec.TLSCipher != 0xc02f {
			t.Errorf("version %x: server hello: done %v ja3s %q cipher %x", version, k.st.Done(), k.rec.JA3S, k.rec.TLSCipher)
		}
		k.end()
	}
}

// TestGoogleHello reads server name and user agent of a CHLO, and bears broken ones.
func TestGoogleHello(t *testing.T) {
	whole := "\x0dabcdefghQ043\x01............\xa0\x01\x04\x00CHLO\x02\x00\x00\x00SNI\x00\x0b\x00\x00\x00UAID\x11\x00\x00\x00example.orgChrome"
	for n := range len(whole) + 1 {
		k := newTalk(t, protoUDP, 443)
		k.send(sideSrc, whole[:n])
		sni, agent := "", ""
		if n >= len(whole)-len("Chrome") {
			sni = "example.org"
		}
		if n == len(whole) {
			agent = "Chrome"
		}
		if r := k.end(); r.TLSSNI != sni || r.ClientSoftware != agent {
			t.Errorf("%d of %d octets: %q %q", n, len(whole), r.TLSSNI, r.ClientSoftware)
		}
	}
}
