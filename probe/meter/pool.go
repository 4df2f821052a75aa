package meter

// ref names an element of a pool; 0 is none.
type ref uint32

// pageSize is the number of elements allocated at a time.
const pageSize = 512

// pool holds elements in pages that never move. Those of a type without
// pointers are not looked at by the garbage collector, however many there are.
type pool[T any] struct {
	pages []*[pageSize]T
	free  []ref
	next  ref // elements up to this one have been taken at some time
	used  int
}

func (p *pool[T]) at(r ref) *T { return &p.pages[(r-1)/pageSize][(r-1)%pageSize] }

// take returns an empty element.
func (p *pool[T]) take() ref {
	p.used++
	if n := len(p.free); n > 0 {
		r := p.free[n-1]
		p.free = p.free[:n-1]
		return r
	}
	if int(p.next) == len(p.pages)*pageSize {
		p.pages = append(p.pages, new([pageSize]T))
	}
	p.next++
	return p.next
}

// give takes an element back.
func (p *pool[T]) give(r ref) {
	var empty T
	*p.at(r) = empty
	p.free = append(p.free, r)
	p.used--
}
