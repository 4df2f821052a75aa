package confine

import (
	"fmt"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// account is a user to become.
type account struct {
	uid, gid int
	groups   []int
}

// lookup returns nil for "": stay who you are.
func lookup(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("user %q: not known: useradd --system %s", name, name)
		}
	}
	a := &account{}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user %q: number %q: %w", name, u.Uid, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("user %q: group %q: %w", name, u.Gid, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user %q: groups: %w", name, err)
	}
	for _, id := range ids {
		if g, err := strconv.Atoi(id); err == nil {
			a.groups = append(a.groups, g)
		}
	}
	return a, nil
}

// become changes the calling thread only. Whoever is the user already, needs
// no right for it.
func (a *account) become() error {
	if unix.Getuid() == a.uid && unix.Geteuid() == a.uid && unix.Getgid() == a.gid {
		return nil
	}
	groups := make([]uint32, len(a.groups)+1)
	for i, g := range a.groups {
		groups[i] = uint32(g)
	}
	groups[len(a.groups)] = uint32(a.gid)
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return fmt.Errorf("become user %d: set the groups: %w", a.uid, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(a.gid), uintptr(a.gid), uintptr(a.gid)); e != 0 {
		return fmt.Errorf("become user %d: set the group: %w", a.uid, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(a.uid), uintptr(a.uid), uintptr(a.uid)); e != 0 {
		return fmt.Errorf("become user %d: %w", a.uid, e)
	}
	return nil
}
