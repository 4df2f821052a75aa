package flow

import "hash/maphash"

// dictionary numbers the distinct values of a batch in the order in which they
// come, from 1; the zero value is number 0 and is not looked up. It takes less
// time than a map, most of all to be filled and emptied again.
type dictionary[K comparable] struct {
	hash   func(maphash.Seed, K) uint64 // seeded: the values come from the network
	seed   maphash.Seed
	values []K
	slots  []slot // a power of two of them, a third free at least
}

// slot is free if its number is 0.
type slot struct{ hash, number uint32 }

func newDictionary[K comparable](hash func(maphash.Seed, K) uint64) dictionary[K] {
	return dictionary[K]{hash, maphash.MakeSeed(), make([]K, 1), make([]slot, 1024)}
}

// number returns the number of k, or, if it is new, 0 and the hash for add.
func (d *dictionary[K]) number(k K) (number, hash uint32) {
	hash = uint32(d.hash(d.seed, k))
	for i := int(hash); ; i++ {
		s := d.slots[i&(len(d.slots)-1)]
		if s.number == 0 || s.hash == hash && d.values[s.number] == k {
			return s.number, hash
		}
	}
}

// add gives k, which is new, the next number.
func (d *dictionary[K]) add(k K, hash uint32) uint32 {
	if 3*len(d.values) > 2*len(d.slots) {
		old := d.slots
		d.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.number != 0 {
				d.place(s)
			}
		}
	}
	s := slot{hash, uint32(len(d.values))}
	d.place(s)
	d.values = append(d.values, k)
	return s.number
}

func (d *dictionary[K]) place(s slot) {
	i := int(s.hash) & (len(d.slots) - 1)
	for d.slots[i].number != 0 {
		i = (i + 1) & (len(d.slots) - 1)
	}
	d.slots[i] = s
}

// reset empties the dictionary and keeps its memory.
func (d *dictionary[K]) reset() {
	clear(d.values)
	d.values = d.values[:1]
	clear(d.slots)
}
