//! The run of a machine, as whoever controls it gets at it.

use std::sync::Arc;

use arch_ppc64::rtas::PowerButton;

use super::Control;
use crate::end::End;
use crate::operate::{NotRunning, Told};

impl Control {
    /// Ends the machine, or the next one as soon as it begins: [`Ending::Stopped`](crate::Ending).
    pub fn stop(&self) {
        self.0.operated.stop();
    }

    /// Whether somebody wants the end of a machine that does not run yet.
    pub(crate) fn is_stop_wanted(&self) -> bool {
        self.0.operated.is_stopped()
    }

    /// Has the machine start again, whatever its guest is at.
    pub(crate) fn reboot(&self) -> Result<(), NotRunning> {
        self.0.operated.reboot()
    }

    /// Asks the guest to shut down.
    pub(crate) fn press_power_button(&self) -> Result<(), NotRunning> {
        self.0.operated.press_power_button()
    }

    /// From here on `listener` is told how the machine's run goes.
    pub(crate) fn listen(&self, listener: impl Fn(Told) + Send + Sync + 'static) {
        self.0.operated.listen(Arc::new(listener));
    }

    pub(crate) fn tell(&self, told: Told) {
        self.0.operated.tell(told);
    }

    /// A run begins.
    pub(crate) fn begin_run(&self, end: &Arc<End>) {
        self.0.operated.begin(end);
    }

    pub(crate) fn connect_power_button(&self, button: Option<PowerButton>) {
        self.0.operated.connect_power_button(button);
    }
}
