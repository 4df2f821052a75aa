package capture

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxClockOffset is how far a card's clock may be from the system's for
// ClockAuto. One that counts TAI is 37 s off, one that nobody set starts at
// 1970; one under ptp4l and phc2sys stays within microseconds.
const maxClockOffset = 10 * time.Millisecond

// chooseClock makes the rings take their times from the card if it can and
// want says so. reason tells why not.
func chooseClock(rings []*ring, iface string, want Clock, log *slog.Logger) (is Clock, reason string, err error) {
	if want == ClockSystem {
		return ClockSystem, "", nil
	}
	if err = stampInHardware(rings, iface, want, log); err == nil {
		return ClockHardware, "", nil
	}
	if want == ClockHardware {
		return 0, "", fmt.Errorf("take times from the card: %w", err)
	}
	return ClockSystem, err.Error(), nil
}

// cardClock watches the clock of a card that ClockAuto has taken: one that
// nobody keeps set runs away by some seconds a day.
type cardClock struct {
	file    *os.File // /dev/ptp…
	offset  func() (time.Duration, error)
	sockets []int // of the rings that show its time
	iface   string
	log     *slog.Logger // may be nil
	left    atomic.Bool  // the rings show the system's time again
}

func watchCard(file *os.File, rings []*ring, log *slog.Logger) *cardClock {
	c := &cardClock{file: file, iface: rings[0].iface, log: log}
	c.offset = func() (time.Duration, error) { return clockOffset(c.file) }
	for _, r := range rings {
		c.sockets = append(c.sockets, r.fd)
		r.card = c
	}
	return c
}

// check goes back to the system's clock when the card's is off.
func (c *cardClock) check() {
	if c == nil || c.left.Load() {
		return
	}
	off, err := c.offset()
	if err == nil && off.Abs() <= maxClockOffset {
		return
	}
	for _, fd := range c.sockets {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, 0))
	}
	c.left.Store(true)
	if c.log != nil {
		c.log.Warn("the card's clock is no longer right, times come from the system's again", "interface", c.iface, "offset", off, "err", err,
			"hint", "keep the card's clock set with phc2sys, or set the clock to system")
	}
}

func (c *cardClock) close() {
	if c != nil && c.file != nil {
		c.file.Close()
	}
}

// stampInHardware asks the card to stamp every frame that arrives, and the
// rings to show that (Documentation/networking/timestamping.rst). What the card
// stamps of sent frames stays as it is, for a PTP daemon may need it.
func stampInHardware(rings []*ring, iface string, want Clock, log *slog.Logger) (result error) {
	fd := rings[0].fd
	info, err := unix.IoctlGetEthtoolTsInfo(fd, iface)
	if err != nil {
		return fmt.Errorf("ask for the card's clock: %w", err)
	}
	const stamps = unix.SOF_TIMESTAMPING_RAW_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE
	if info.So_timestamping&stamps != stamps || info.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) == 0 {
		return errors.New("the card does not stamp every frame")
	}
	if want == ClockAuto {
		file, err := openClock(int(info.Phc_index))
		if err != nil {
			return err
		}
		card := watchCard(file, rings, log)
		defer func() {
			if result != nil {
				card.close()
				for _, r := range rings {
					r.card = nil
				}
			}
		}()
		off, err := clockOffset(file)
		if err != nil {
			return err
		}
		if off.Abs() > maxClockOffset {
			return fmt.Errorf("the card's clock is %s off the system's: set it with phc2sys", off)
		}
	}
	cfg, err := unix.IoctlGetHwTstamp(fd, iface)
	if err != nil {
		cfg = &unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_OFF}
	}
	if cfg.Rx_filter != unix.HWTSTAMP_FILTER_ALL {
		cfg.Rx_filter = unix.HWTSTAMP_FILTER_ALL
		if err := unix.IoctlSetHwTstamp(fd, iface, cfg); err != nil {
			return fmt.Errorf("switch the card's stamps on: %w", err)
		}
		if cfg.Rx_filter != unix.HWTSTAMP_FILTER_ALL {
			return errors.New("the card's driver stamps only some frames")
		}
	}
	for _, r := range rings {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE); err != nil {
			return fmt.Errorf("take the card's stamps: %w", err)
		}
	}
	return nil
}

func openClock(index int) (*os.File, error) {
	if index < 0 {
		return nil, errors.New("the card's clock cannot be read")
	}
	f, err := os.Open(fmt.Sprintf("/dev/ptp%d", index))
	if err != nil {
		return nil, fmt.Errorf("read the card's clock: %w", err)
	}
	return f, nil
}

// clockOffset is how far the clock of a /dev/ptp device is ahead of the system's.
func clockOffset(f *os.File) (time.Duration, error) {
	var card unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.FdToClockID(int(f.Fd())), &card); err != nil {
		return 0, fmt.Errorf("read the card's clock: %w", err)
	}
	return time.Unix(card.Unix()).Sub(before), nil
}
