package meter

// index finds entries by key: open addressing with linear probing, deletion by
// shifting back, never more than half full. A slot holds the hash and the
// entry's reference, so that a probe for another flow seldom leaves the slots.
type index struct {
	slots []slot
	mask  uint32
	used  int
}

type slot struct {
	hash uint32
	ref  ref // 0 free
}

func newIndex() index { return index{slots: make([]slot, 1024), mask: 1023} }

// find returns the entry with key k, or 0.
func (x *index) find(t *pool[entry], k *key, hash uint32) ref {
	for i := hash & x.mask; ; i = (i + 1) & x.mask {
		s := x.slots[i]
		if s.ref == 0 {
			return 0
		}
		if s.hash == hash && t.at(s.ref).key.equal(k) {
			return s.ref
		}
	}
}

// insert adds r, whose key is not in the index.
func (x *index) insert(hash uint32, r ref) {
	if x.used*2 >= len(x.slots) {
		x.grow()
	}
	x.place(slot{hash, r})
	x.used++
}

func (x *index) place(s slot) {
	i := s.hash & x.mask
	for x.slots[i].ref != 0 {
		i = (i + 1) & x.mask
	}
	x.slots[i] = s
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]slot, 2*len(old))
	x.mask = uint32(len(x.slots) - 1)
	for _, s := range old {
		if s.ref != 0 {
			x.place(s)
		}
	}
}

// remove takes r out and closes the gap: what probed past it moves up.
func (x *index) remove(hash uint32, r ref) {
	i := hash & x.mask
	for x.slots[i].ref != r {
		i = (i + 1) & x.mask
	}
	for j := i; ; {
		j = (j + 1) & x.mask
		s := x.slots[j]
		if s.ref == 0 {
			break
		}
		if (j-s.hash&x.mask)&x.mask >= (j-i)&x.mask { // its home is not behind the gap
			x.slots[i] = s
			i = j
		}
	}
	x.slots[i] = slot{}
	x.used--
}
