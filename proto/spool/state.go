package spool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
)

// slotBytes is the size of each of the two slots: maxRanges ranges and as many spans of damage in JSON, at their longest.
const slotBytes = 512 << 10

const slotHeader = 4 + 4 + 4 // magic, length of the body, CRC32C of the body

// saved is what outlives a restart beside the records themselves.
type saved struct {
	Generation uint64            `json:"generation"`
	Epoch      uint64            `json:"epoch"`
	Partitions map[string]int    `json:"partitions,omitempty"` // of each topic, as first seen
	Dropped    []DropRange       `json:"dropped,omitempty"`
	Accounted  map[uint64][]span `json:"accounted,omitempty"` // damage, by segment, that Dropped had
	Dead       []uint64          `json:"dead,omitempty"`      // segments dropped, whose file may still be there
}

// stateFile holds two copies of saved, the older one being overwritten. Both are allocated at the start, so that a write
// needs no space.
type stateFile struct {
	f    *os.File
	slot int // to be written next
	sync bool
}

// openState opens or creates the file and reads the newest whole copy; damaged says that a copy was expected and could not
// be read.
func openState(dir string, sync bool) (st *stateFile, s saved, damaged bool, err error) {
	path := filepath.Join(dir, "state")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, s, false, fmt.Errorf("open spool state %s: %w", path, err)
	}
	st = &stateFile{f: f, sync: sync}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, s, false, fmt.Errorf("open spool state %s: %w", path, err)
	}
	size := info.Size()
	if size < 2*slotBytes {
		// Written, not only extended: a hole would need space later.
		if _, err := f.WriteAt(make([]byte, 2*slotBytes-size), size); err != nil {
			f.Close()
			if size == 0 {
				os.Remove(path)
			}
			return nil, s, false, fmt.Errorf("allocate spool state %s: needs 1 MiB of free space: %w", path, err)
		}
	}
	best := -1
	for i := range 2 {
		if c, ok := readSlot(f, i); ok && (best < 0 || c.Generation > s.Generation) {
			best, s = i, c
		}
	}
	damaged = best < 0 && size > 0
	st.slot = (best + 1) % 2
	return st, s, damaged, nil
}

func readSlot(f *os.File, slot int) (s saved, ok bool) {
	b := make([]byte, slotHeader)
	if _, err := f.ReadAt(b, int64(slot)*slotBytes); err != nil {
		return s, false
	}
	b = append(b, make([]byte, min(binary.LittleEndian.Uint32(b[4:]), slotBytes-slotHeader))...)
	if _, err := f.ReadAt(b, int64(slot)*slotBytes); err != nil {
		return s, false
	}
	return decodeState(b)
}

// decodeState reads one slot.
func decodeState(b []byte) (s saved, ok bool) {
	if len(b) < slotHeader || string(b[:4]) != "TWST" {
		return s, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if int64(n) > int64(len(b)-slotHeader) {
		return s, false
	}
	body := b[slotHeader : slotHeader+int(n)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return s, false
	}
	return s, json.Unmarshal(body, &s) == nil
}

// write stores s, with a raised generation, and returns when it is on disk.
func (st *stateFile) write(s *saved) error {
	s.Generation++
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode spool state: %w", err)
	}
	if len(body) > slotBytes-slotHeader {
		return errors.New("write spool state: too much damage to remember")
	}
	b := make([]byte, slotHeader, slotHeader+len(body))
	copy(b, "TWST")
	binary.LittleEndian.PutUint32(b[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(body, castagnoli))
	if _, err := st.f.WriteAt(append(b, body...), int64(st.slot)*slotBytes); err != nil {
		return fmt.Errorf("write spool state: %w", err)
	}
	if st.sync {
		if err := disk.Sync(st.f); err != nil {
			return fmt.Errorf("sync spool state: %w", err)
		}
	}
	st.slot = 1 - st.slot
	return nil
}
