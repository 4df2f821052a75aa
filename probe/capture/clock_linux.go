package capture

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxClockOffset is how far a card's clock may be from the system's for
// ClockAuto. One that counts TAI is 37 s off, one that nobody set starts at
// 1970; one under ptp4l and phc2sys stays within microseconds.
const maxClockOffset = 10 * time.Millisecond

// chooseClock makes the rings take their times from the card if it can and
// want says so. reason tells why not.
func chooseClock(rings []*ring, iface string, want Clock) (is Clock, reason string, err error) {
	if want == ClockSystem {
		return ClockSystem, "", nil
	}
	if err = stampInHardware(rings, iface, want); err == nil {
		return ClockHardware, "", nil
	}
	if want == ClockHardware {
		return 0, "", fmt.Errorf("take times from the card: %w", err)
	}
	return ClockSystem, err.Error(), nil
}

// stampInHardware asks the card to stamp every frame that arrives, and the
// rings to show that (Documentation/networking/timestamping.rst). What the card
// stamps of sent frames stays as it is, for a PTP daemon may need it.
func stampInHardware(rings []*ring, iface string, want Clock) error {
	fd := rings[0].fd
	info, err := unix.IoctlGetEthtoolTsInfo(fd, iface)
	if err != nil {
		return fmt.Errorf("ask for the card's clock: %w", err)
	}
	const stamps = unix.SOF_TIMESTAMPING_RAW_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE
	if info.So_timestamping&stamps != stamps || info.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) == 0 {
		return fmt.Errorf("the card does not stamp every frame")
	}
	if want == ClockAuto {
		off, err := clockOffset(int(info.Phc_index))
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
			return fmt.Errorf("the card's driver stamps only some frames")
		}
	}
	for _, r := range rings {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE); err != nil {
			return fmt.Errorf("take the card's stamps: %w", err)
		}
	}
	return nil
}

// clockOffset is how far the clock /dev/ptp<index> is ahead of the system's.
func clockOffset(index int) (time.Duration, error) {
	if index < 0 {
		return 0, fmt.Errorf("the card's clock cannot be read")
	}
	f, err := os.Open(fmt.Sprintf("/dev/ptp%d", index))
	if err != nil {
		return 0, fmt.Errorf("read the card's clock: %w", err)
	}
	defer f.Close()
	var card unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.FdToClockID(int(f.Fd())), &card); err != nil {
		return 0, fmt.Errorf("read the card's clock: %w", err)
	}
	return time.Unix(card.Unix()).Sub(before), nil
}
