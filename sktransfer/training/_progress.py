"""scikit-learn's callbacks, told of trainings and their epochs."""

import contextlib


class FitProgress:
    """Report the trainings of one fit as tasks of scikit-learn's callbacks, epochs as theirs.

    Parameters
    ----------
    estimator : estimator
    context : sklearn.callback.CallbackContext
        That of the fit.
    """

    def __init__(self, estimator, context):
        self.estimator, self.context = estimator, context

    @contextlib.contextmanager
    def __call__(self, n_epochs):
        training = self.context.subcontext(task_name="training", max_subtasks=n_epochs)
        training.call_on_fit_task_begin(estimator=self.estimator)
        begun = []

        def report(event):
            if event == "begin":
                begun.append(training.subcontext(task_name="epoch"))
                begun[-1].call_on_fit_task_begin(estimator=self.estimator)
                return False
            return begun.pop().call_on_fit_task_end(estimator=self.estimator)

        yield report
        # An epoch that ends the training early is not reported as ended.
        if begun:
            report("end")
        training.call_on_fit_task_end(estimator=self.estimator)
