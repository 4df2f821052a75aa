package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// ErrWrongKey is returned by Open when records wait in the spool that the configured key does not open, or that need a key where none
// is configured.
var ErrWrongKey = errors.New("wrong encryption key")

func (cfg *Config) key() (*seal.Key, error) {
	if cfg.Key != nil || cfg.KeyFile == "" {
		return cfg.Key, nil
	}
	k, err := seal.Open(cfg.KeyFile)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("open spool: %w", err), kit.HintOf(err))
	}
	return k, nil
}

// keyTag is the beginning of a key's ID, as it stands in each header: so each record can say that a key is not its own, and
// no damage can look like a wrong key or the other way round.
func keyTag(k *seal.Key) uint32 {
	id := k.ID()
	return binary.BigEndian.Uint32(id[:])
}

// segmentID is the segment that the record was written to.
func (h *header) segmentID() segmentID { return segmentID{h.segment, h.salt, h.encrypted} }

// placeOf is what an encrypted payload is tied to: its whole header, given as bytes, less the CRCs. So neither a payload nor a header
// can be changed or take the place of another.
func placeOf(b []byte) []byte {
	place := append(make([]byte, 0, crcOffset), b[:crcOffset]...)
	clear(place[payloadCRCOffset:][:4])
	return place
}

// open returns the plain payload of a record, given as its h.len() bytes; ok is false when it is not what was written. It is a slice of
// raw or, when encrypted, appended to dst.
func (h *header) open(dst, raw []byte, key *seal.Key) (payload []byte, ok bool) {
	payload = raw[headerBytes:]
	if crc32.Checksum(payload, castagnoli) != h.payloadCRC {
		return nil, false
	}
	if !h.encrypted {
		return payload, true
	}
	if key == nil || h.keyTag != keyTag(key) {
		return nil, false
	}
	payload, err := key.Open(dst, payload, placeOf(raw))
	return payload, err == nil
}

// readable says with ErrWrongKey that a record of g waits which needs another key.
func (s *Spool) readable(g *segment, found []entry) error {
	if !g.encrypted {
		return nil
	}
	for i := range found {
		e := &found[i]
		switch {
		case e.acked:
		case s.key == nil:
			return kit.Hint(fmt.Errorf("open spool %s: %s is encrypted with key %08x, and no key is configured: %w", s.cfg.Dir, g.name(), e.keyTag,
				ErrWrongKey), keyHint)
		case e.keyTag != keyTag(s.key):
			return kit.Hint(fmt.Errorf("open spool %s: %s is encrypted with key %08x, the configured key is %08x: %w", s.cfg.Dir, g.name(), e.keyTag,
				keyTag(s.key), ErrWrongKey), keyHint)
		}
	}
	return nil
}

const keyHint = "configure the key the spool was written with until it is empty; or move its directory away, and what waits in it is lost"

// rejectedEncrypted is the end of the names of encrypted files in rejected/.
const rejectedEncrypted = ".sealed"

func rejectedPlace(name string) []byte { return append([]byte("tapwatch spool rejected "), name...) }

// ReadRejected returns the value of a batch that Kafka rejected, from a file in rejected/. key is needed for those that end in .sealed.
func ReadRejected(path string, key *seal.Key) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, rejectedEncrypted) {
		return b, err
	}
	if key == nil {
		return nil, fmt.Errorf("read rejected batch %s: no key is given: %w", path, ErrWrongKey)
	}
	if b, err = key.Open(nil, b, rejectedPlace(filepath.Base(path))); err != nil {
		return nil, fmt.Errorf("read rejected batch %s: %w", path, err)
	}
	return b, nil
}
